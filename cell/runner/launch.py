"""From the command line's wishes to an exit code: reads, checks, runs, shows."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cell import lagerlog
from cell.runner.document import read_workload
from cell.runner.errors import FAILED, HOST, INTERRUPTED, HostCannot
from cell.runner.events import RunEnded, RunEvent, RunStarted, Story, View
from cell.runner.interrupts import Interrupts, listening
from cell.runner.model import Tree
from cell.runner.options import Options
from cell.runner.place import cell_config, check_machine, one_slot
from cell.runner.plan import plan
from cell.runner.request import Order, make_order
from cell.runner.session import Session
from cell.runner.text import one_line
from cell.runner.verdict import INTERRUPTED_REASON, Verdict
from cell.runner.views.plain import PlainView
from executor.errors import ExecutorError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What is wanted besides the run itself. trace, junit: files to write."""

    dry_run: bool = False
    json_lines: bool = False
    trace: Path | None = None
    junit: Path | None = None


class TreeView:
    """The tree as it stands, kept for whoever asks at the end."""

    def __init__(self) -> None:
        self.tree = Tree()

    def take(self, event: RunEvent) -> None:
        self.tree.apply(event)

    def close(self) -> None:
        """The tree stays."""


async def execute(source: str, options: Options, outputs: Outputs) -> int:
    """Answers the exit code. Raises BadInput and HostCannot for what is wrong before anything runs."""
    workload = read_workload(source, root_fs=options.root_fs)
    guid = f"run-{secrets.token_hex(4)}"
    order = make_order(workload, options, guid)
    kept = TreeView()
    views: list[View] = [kept, PlainView()]
    story = Story(views)
    begun = time.monotonic()
    with listening() as interrupts:
        await asyncio.to_thread(check_machine, order.info.root_fs, options.state_dir)
        story.record(
            RunStarted(
                time_ns=time.time_ns(),
                guid=guid,
                kind=order.kind,
                name=order.name,
                root_fs=order.info.root_fs,
                tree=plan(order.info),
            )
        )
        try:
            verdict = await _in_a_slot(order, options, story, interrupts)
        except (HostCannot, ExecutorError) as error:
            interrupted = interrupts.wanted.is_set()
            verdict = Verdict(INTERRUPTED, INTERRUPTED_REASON) if interrupted else Verdict(HOST, str(error))
        failing = kept.tree.failing() if verdict.exit_code == FAILED else None
        ended = RunEnded(
            time_ns=time.time_ns(),
            seconds=time.monotonic() - begun,
            guid=guid,
            exit_code=verdict.exit_code,
            path=failing.node.path if failing else "",
            reason=verdict.reason,
            cause=failing.cause if failing else "",
        )
        story.record(ended)
        story.close()
    if ended.exit_code:
        print(f"cell run: {one_line(failure_line(ended))}", file=sys.stderr)
    return ended.exit_code


def failure_line(ended: RunEnded) -> str:
    """Step, reason, cause and container of a failure."""
    parts = [part for part in (ended.path, ended.reason, ended.cause) if part]
    return f"{': '.join(parts)} (container {ended.guid})"


async def _in_a_slot(order: Order, options: Options, story: Story, interrupts: Interrupts) -> Verdict:
    with ExitStack() as stack:
        slot = stack.enter_context(one_slot())
        folder = options.state_dir / slot.cell_id
        folder.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context((folder / "run.log").open("w", encoding="utf-8"))
        lagerlog.install(log, source="cell-run", time_format="rfc3339")
        config = cell_config(slot, options.state_dir, owner="")
        return await Session(order, config, story, interrupts, options.timeout_s).run()
