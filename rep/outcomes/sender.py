"""The BBS calls of reports about ended containers."""

from __future__ import annotations

from typing import Protocol

from bbs.client.api import BBSClient
from bbs.models.task import TaskState
from bbs.tracing import traced
from rep.outcomes.reports import (
    CompleteTask,
    CrashActualLRP,
    EndReport,
    EvacuateClaimedActualLRP,
    EvacuateCrashedActualLRP,
    EvacuateStoppedActualLRP,
    RejectTask,
    RemoveActualLRP,
)


class Sends(Protocol):
    """Sends one report. Raises BBSError."""

    async def __call__(self, report: EndReport, trace_id: str, *, repeated: bool) -> None: ...


class Sender:
    """Sends reports of one cell; each call is one request to the BBS, plus a question before a rejection."""

    def __init__(self, bbs: BBSClient, cell_id: str) -> None:
        self._bbs = bbs
        self._cell_id = cell_id

    async def __call__(self, report: EndReport, trace_id: str, *, repeated: bool) -> None:
        """repeated: the report may have arrived before. Raises BBSError."""
        with traced(trace_id):
            if isinstance(report, CompleteTask | RejectTask):
                await self._send_for_task(report, trace_id, repeated)
            else:
                await self._send_for_lrp(report, trace_id)

    async def _send_for_lrp(self, report: EndReport, trace_id: str) -> None:
        bbs = self._bbs
        match report:
            case CrashActualLRP(who, reason):
                await bbs.crash_actual_lrp(who.key, who.instance_key, reason or "", trace_id=trace_id)
            case RemoveActualLRP(who):
                await bbs.remove_actual_lrp(who.key, who.instance_key, trace_id=trace_id)
            case EvacuateClaimedActualLRP(who):
                await bbs.evacuate_claimed_actual_lrp(who.key, who.instance_key, trace_id=trace_id)
            case EvacuateStoppedActualLRP(who):
                await bbs.evacuate_stopped_actual_lrp(who.key, who.instance_key, trace_id=trace_id)
            case EvacuateCrashedActualLRP(who, reason):
                await bbs.evacuate_crashed_actual_lrp(who.key, who.instance_key, reason, trace_id=trace_id)

    async def _send_for_task(self, report: CompleteTask | RejectTask, trace_id: str, repeated: bool) -> None:
        match report:
            case CompleteTask(guid, failed, reason, result):
                await self._bbs.complete_task(
                    guid,
                    self._cell_id,
                    failed=failed,
                    failure_reason=reason or "",
                    result=result,
                    trace_id=trace_id,
                )
            case RejectTask(guid, reason, ours):
                if repeated or not ours:
                    task = await self._bbs.task(guid, trace_id=trace_id)
                    if task.state is not TaskState.Running or task.cell_id != self._cell_id:
                        return
                await self._bbs.reject_task(guid, reason, trace_id=trace_id)
