"""Reports to the BBS about containers that have ended, and their form in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Final, TypeAlias

from bbs.models.actual_lrp import ActualLRPInstanceKey, ActualLRPKey
from bbs.models.codec import compact, from_json, parse, to_json
from bbs.models.invalid import InvalidDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The LRP instance of a command."""

    key: ActualLRPKey
    instance_key: ActualLRPInstanceKey

    @property
    def guid(self) -> str:
        """The instance guid, which is also the container's."""
        return self.instance_key.instance_guid


@dataclass(frozen=True, slots=True)
class CrashActualLRP:
    """Report that the instance crashed. reason: None for the text of the outcome that led here."""

    instance: Instance
    reason: str | None


@dataclass(frozen=True, slots=True)
class RemoveActualLRP:
    """Report to the BBS that the instance is gone, as requested."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateClaimedActualLRP:
    """Give back an instance that does not run yet."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateStoppedActualLRP:
    """RemoveActualLRP on an evacuating cell."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class EvacuateCrashedActualLRP:
    """CrashActualLRP on an evacuating cell."""

    instance: Instance
    reason: str


@dataclass(frozen=True, slots=True)
class CompleteTask:
    """Report how the task ended. The result belongs to the app and is not logged.

    failure_reason: None for the text of the outcome that led here. stopped: a stop was requested. The BBS
    ends a task before it cancels it on the cell, so it refuses this report.
    """

    task_guid: str
    failed: bool
    failure_reason: str | None
    result: str = field(repr=False)
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class RejectTask:
    """Give the task back; it may be placed again.

    The call names no cell, so it could also take the task from another cell. ours: the task is known to
    run here; otherwise the BBS is asked first.
    """

    task_guid: str
    reason: str
    ours: bool = True


LRPReport: TypeAlias = (
    CrashActualLRP
    | RemoveActualLRP
    | EvacuateClaimedActualLRP
    | EvacuateStoppedActualLRP
    | EvacuateCrashedActualLRP
)
TaskReport: TypeAlias = CompleteTask | RejectTask
EndReport: TypeAlias = LRPReport | TaskReport
"""A report about a container that has ended, or is about to be deleted."""

END_REPORTS: Final = (
    CrashActualLRP,
    RemoveActualLRP,
    EvacuateClaimedActualLRP,
    EvacuateStoppedActualLRP,
    EvacuateCrashedActualLRP,
    CompleteTask,
    RejectTask,
)
_BY_NAME: Final = {kind.__name__: kind for kind in END_REPORTS}


def guid_of(report: EndReport) -> str:
    """The guid of the report's container."""
    return report.task_guid if isinstance(report, CompleteTask | RejectTask) else report.instance.guid


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A report in the ledger. trace_id: of the request that caused it. recorded_at: s since the epoch."""

    report: EndReport
    trace_id: str
    recorded_at: float

    @property
    def guid(self) -> str:
        return guid_of(self.report)


def encode(entry: Entry) -> bytes:
    """The entry as JSON."""
    report = entry.report
    document: dict[str, object] = {
        "report": type(report).__name__,
        "trace_id": entry.trace_id,
        "recorded_at": entry.recorded_at,
    }
    if isinstance(report, CompleteTask | RejectTask):
        document |= asdict(report)
    else:
        document |= {
            "key": to_json(report.instance.key),
            "instance_key": to_json(report.instance.instance_key),
        }
        if isinstance(report, CrashActualLRP | EvacuateCrashedActualLRP):
            document["reason"] = report.reason
    return compact(document).encode("utf-8", "surrogatepass")


def decode(data: bytes) -> Entry:
    """The entry of JSON. Raises InvalidDocument."""
    try:
        document = parse(data.decode("utf-8", "surrogatepass"))
        return Entry(
            report=_report(document),
            trace_id=str(document["trace_id"]),
            recorded_at=float(document["recorded_at"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidDocument("$", "a report", f"something else ({error!r})") from error


def _report(document: Mapping[str, object]) -> EndReport:
    kind = _BY_NAME[str(document["report"])]
    names = {each.name for each in fields(kind)}
    members = {name: document[name] for name in names if name in document}
    if "instance" in names:
        members["instance"] = Instance(
            key=from_json(ActualLRPKey, document["key"]),
            instance_key=from_json(ActualLRPInstanceKey, document["instance_key"]),
        )
    return kind(**members)  # type: ignore[arg-type] # the members are those of the kind
