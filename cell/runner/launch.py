"""Execution of ``cell run``: from options to an exit code."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bbs.embedded.store.statefolder import private_folder
from bbs.models.actions import Action
from cell.assembly import lagerlog
from cell.assembly.failures import Reported, reported_errors
from cell.assembly.terminal import one_line
from cell.development.slots import take_slots
from cell.development.statefolder import open_private
from cell.errors import FAILED, HOST, INTERRUPTED, SUCCESS, BadInput
from cell.runner.document import read_workload
from cell.runner.events import EventRecorder, RunEnded, RunEvent, RunStarted, View
from cell.runner.interrupts import Interrupts, received_interrupts
from cell.runner.keep import kept_message
from cell.runner.machine import cell_config, check_machine
from cell.runner.model import Tree
from cell.runner.options import Options
from cell.runner.output import PipeSafeOutput
from cell.runner.request import Order, make_order
from cell.runner.session import Session
from cell.runner.verdict import INTERRUPTED_REASON, Verdict, failure_text
from cell.runner.views.dryrun import dry_run_lines
from cell.runner.views.junit import JunitView
from cell.runner.views.live import REFRESH_S, LiveView
from cell.runner.views.streams import JsonLinesView, PlainView
from cell.runner.views.trace import TraceView
from cell.story.plan import plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Additional outputs of the run. trace, junit: files to write."""

    dry_run: bool = False
    json_lines: bool = False
    trace: Path | None = None
    junit: Path | None = None


class TreeView:
    """The current tree, for queries during the run and at its end."""

    def __init__(self) -> None:
        self.tree = Tree()

    def take(self, event: RunEvent) -> None:
        self.tree.apply(event)

    def close(self) -> None:
        """The tree remains available."""

    def failing_action(self) -> Action | None:
        """The action of the failed step, if any."""
        row = self.tree.failing()
        return row.node.action if row is not None else None


def execute(source: str, options: Options, outputs: Outputs) -> int:
    """Returns the exit code; failures are reported. Raises BadInput before the run starts."""
    workload = read_workload(source, root_fs=options.root_fs)
    order = make_order(workload, options, f"run-{secrets.token_hex(4)}")
    if outputs.dry_run:
        out = PipeSafeOutput(sys.stdout)
        for line in dry_run_lines(order):
            print(line, file=out)
        out.flush()
        return SUCCESS
    for path in (outputs.trace, outputs.junit):
        if path is not None:
            _check_writable(path)
    return asyncio.run(_execute(order, options, outputs))


def _check_writable(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error


async def _execute(order: Order, options: Options, outputs: Outputs) -> int:
    tree_view, live = TreeView(), None
    views: list[View] = [tree_view]
    if outputs.trace is not None:
        views.append(TraceView(outputs.trace))
    if outputs.junit is not None:
        views.append(JunitView(outputs.junit))
    if outputs.json_lines:
        views.append(JsonLinesView())
    elif sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        views.append(live := LiveView())
    else:
        views.append(PlainView())
    recorder = EventRecorder(views)
    try:
        async with _drawn(live):
            code = await _run(order, options, recorder, tree_view, live)
    finally:
        problems = recorder.close()
    for problem in problems:
        _print_error(one_line(problem))
    return code or (HOST if problems else SUCCESS)


@asynccontextmanager
async def _drawn(live: LiveView | None) -> AsyncIterator[None]:
    """Refresh the live picture while inside."""
    if live is None:
        yield
        return
    drawing = asyncio.create_task(_draw(live))
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])
        if not drawing.cancelled():
            drawing.result()


async def _draw(live: LiveView) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(REFRESH_S)


async def _run(
    order: Order, options: Options, recorder: EventRecorder, tree_view: TreeView, live: LiveView | None
) -> int:
    """Run, and report start and end."""
    begun = time.monotonic()
    recorder.record(
        RunStarted(
            time_ns=time.time_ns(),
            guid=order.allocation.guid,
            kind=order.kind,
            name=order.name,
            root_fs=order.info.root_fs,
            tree=plan(order.info),
        )
    )
    with received_interrupts() as interrupts:
        session = Session(
            order,
            options,
            recorder,
            interrupts,
            failing_action=tree_view.failing_action,
            pause=live.pause if live is not None else lambda: None,
        )
        verdict = await _verdict(session, order, options, interrupts)
    failing = tree_view.tree.failing() if verdict.exit_code == FAILED else None
    ended = RunEnded(
        time_ns=time.time_ns(),
        seconds=time.monotonic() - begun,
        guid=order.allocation.guid,
        exit_code=verdict.exit_code,
        path=failing.node.path if failing else "",
        reason=verdict.reason,
        cause=failing.cause if failing else "",
        kept=session.kept is not None,
    )
    recorder.record(ended)
    if ended.exit_code:
        _print_error(one_line(failure_text(ended)))
    if session.kept is not None:
        _print_error(kept_message(session.kept, tree_view.failing_action()))
    return ended.exit_code


def _print_error(text: str) -> None:
    """Print on standard error, if it is still open."""
    print(f"cell run: {text}", file=PipeSafeOutput(sys.stderr), flush=True)


async def _verdict(session: Session, order: Order, options: Options, interrupts: Interrupts) -> Verdict:
    problems: list[str] = []
    try:
        with reported_errors(problems.append), ExitStack() as stack:
            await asyncio.to_thread(check_machine, order.info.root_fs, options.state_dir, options.docker_host)
            if interrupts.requested.is_set():
                return Verdict(INTERRUPTED, INTERRUPTED_REASON)
            (slot,) = stack.enter_context(take_slots(1))
            folder = options.state_dir / slot.cell_id
            private_folder(options.state_dir)
            private_folder(folder)
            log = stack.enter_context(open_private(folder / "run.log", "w"))
            lagerlog.install(log, source="cell-run", time_format="rfc3339")
            owner = f"cell-run-{order.allocation.guid}" if options.keep else ""
            return await session.run(cell_config(slot, options, owner=owner))
    except Reported:
        if interrupts.requested.is_set():
            return Verdict(INTERRUPTED, INTERRUPTED_REASON)
        return Verdict(HOST, "; ".join(problems))
