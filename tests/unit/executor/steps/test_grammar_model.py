"""Any tree, compared with a model of the grammar: readiness, end, result.

The model knows no tasks. A node that begins at ``start`` and hears its first interrupt at ``stop`` is ready
at a time, if ever, and ends at another and with an error; the tree's result follows from its children's.
Interrupts fall into every phase: a process being started, running, dying of TERM or of KILL; a fetch; the
copying and the posting of an upload; and again while the tree is ending.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbs.models.actions import (
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from common.gotext import format_seconds
from executor.cache.api import DownloadError, Fetched, UploadError
from executor.places import FairPlaces
from executor.steps.context import StepSlots
from tests.support.thorough import examples

pytestmark = pytest.mark.unit

NEVER = math.inf
GRACE, AFTER_KILL = 10, 1


@dataclass(frozen=True)
class Failure:
    """An error of the model. loose: several of its parts came at one moment, in whatever order."""

    text: str
    hidden: bool = False
    emittable: bool = False
    loose: bool = False

    @property
    def parts(self) -> list[str]:
        return in_parts(self.text, loose=self.loose)


def in_parts(text: str, *, loose: bool) -> list[str]:
    return sorted(text.split("; ")) if loose else [text]


@dataclass(frozen=True)
class Leaf:
    """A process: how long its start takes and whether it succeeds, how long it runs, its status, and how long
    it takes to die of TERM and KILL."""

    name: str
    starting: float
    starts: bool
    lasts: float
    status: int
    term: float
    kill: float


@dataclass(frozen=True)
class Transfer:
    """A download, or an upload with the time before its post; takes: until it succeeds or fails."""

    name: str
    takes: float
    fails: bool
    preparing: float | None = None


@dataclass(frozen=True)
class Node:
    kind: str
    children: tuple
    timeout_ms: int = 0


CANCELLED = Failure("cancelled", hidden=True)
EXCEEDED = Failure("exceeded graceful shutdown interval", hidden=True)
SURVIVED = Failure("process did not exit")


def model(node, start: float, stop: float) -> tuple[float, Failure | None]:
    """When the node ends, and with which error."""
    if isinstance(node, Leaf):
        return model_run(node, start, stop)
    if isinstance(node, Transfer):
        return model_transfer(node, start, stop)
    match node.kind:
        case "serial":
            return model_serial(node, start, stop)
        case "parallel":
            ends = [model(child, start, stop) for child in node.children]
            return max(end for end, _ in ends), combined([error for _, error in ends if error])
        case "codependent":
            return model_codependent(node, start, stop)
        case "timeout":
            return model_timeout(node, start, stop)
        case "try":
            return model(node.children[0], start, stop)[0], None
        case "emit-progress":
            return model(node.children[0], start, stop)
    raise AssertionError(node.kind)


def model_run(leaf: Leaf, start: float, stop: float) -> tuple[float, Failure | None]:
    start += leaf.starting
    if stop < start:
        return stop, CANCELLED
    if not leaf.starts:
        return start, Failure(f"cannot start {leaf.name}")
    end = start + leaf.lasts
    if stop >= end:
        text = f"APP: Exited with status {leaf.status}"
        return end, Failure(text, emittable=True) if leaf.status else None
    end = min(end, stop + leaf.term)
    if end <= stop + GRACE:
        return end, CANCELLED
    end = min(end, stop + GRACE + leaf.kill)
    if end <= stop + GRACE + AFTER_KILL:
        return end, EXCEEDED
    return stop + GRACE + AFTER_KILL, SURVIVED


def model_transfer(transfer: Transfer, start: float, stop: float) -> tuple[float, Failure | None]:
    """A download hears an interrupt at any time, an upload from its post on."""
    uploads = transfer.preparing is not None
    begun = start + (transfer.preparing or 0)
    end = begun + transfer.takes
    if stop < end:
        return max(begun, stop), CANCELLED
    if not transfer.fails:
        return end, None
    return end, Failure(f"no {transfer.name}") if uploads else Failure("Downloading failed", emittable=True)


def ready(node, start: float, stop: float) -> float:
    """When the node is ready; NEVER if it is not."""
    if isinstance(node, Leaf):
        started = start + node.starting
        return started if node.starts and stop >= started else NEVER
    if isinstance(node, Transfer):
        return start
    if node.kind == "serial":
        for child in node.children[:-1]:
            start, error = model(child, start, stop)
            if error or stop <= start:
                return NEVER
    if node.kind == "codependent":
        stop = min(stop, *(model(child, start, stop)[0] for child in node.children), NEVER)
    if node.kind == "timeout":
        stop = min(stop, start + node.timeout_ms / 1000)
    if node.kind in ("parallel", "codependent"):
        return max(ready(child, start, stop) for child in node.children)
    return ready(node.children[-1], start, stop)


def model_serial(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    for child in node.children:
        start, error = model(child, start, stop)
        if error or stop <= start:
            return start, error
    return start, None


def model_codependent(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    undisturbed = [model(child, start, stop) for child in node.children]
    first = min(end for end, _ in undisturbed)
    cause = [end for end, _ in undisturbed].index(first) if first < stop else None
    ends = [
        (*(undisturbed[index] if index == cause else model(child, start, min(stop, first))), index)
        for index, child in enumerate(node.children)
    ]
    ends.sort(key=lambda end: (end[0], end[2] != cause))
    exited = Failure("Codependent step exited")
    moments = [end for end, _, index in ends if index != cause]
    error = combined([error or exited for _, error, _ in ends], loose=len(set(moments)) < len(moments))
    return ends[-1][0], error


def model_timeout(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    (child,) = node.children
    timer = start + node.timeout_ms / 1000
    result = model(child, start, stop)
    if stop < timer or result[0] <= timer:
        return result
    end, error = model(child, start, timer)
    suffix = f"; {error.text}" if error and error.emittable else ""
    return end, Failure(f"exceeded {format_seconds(timer - start)} timeout{suffix}", emittable=True)


def combined(errors: list[Failure], *, loose: bool = False) -> Failure | None:
    texts = [error.text for error in errors if not error.hidden and error.text]
    loose = loose or any(error.loose for error in errors)
    return Failure("; ".join(texts), loose=loose) if errors else None


WRAPPERS = {"serial": SerialAction, "parallel": ParallelAction, "codependent": CodependentAction}


def action_of(node, scripts: dict):
    """The action of a node; notes the scripts of its processes."""
    if isinstance(node, Leaf):
        times = {name: getattr(node, name) for name in ("lasts", "term", "kill")}
        scripts[node.name] = {name: None if value == NEVER else value for name, value in times.items()}
        scripts[node.name] |= {"status": node.status, "start_takes": node.starting}
        scripts[node.name]["start_error"] = "" if node.starts else f"cannot start {node.name}"
        return RunAction(path=node.name, log_source="APP")
    if isinstance(node, Transfer):
        if node.preparing is None:
            return DownloadAction(from_=node.name, to="to")
        return UploadAction(from_=node.name, to=node.name)
    children = tuple(action_of(child, scripts) for child in node.children)
    match node.kind:
        case "timeout":
            return TimeoutAction(action=children[0], timeout_ms=node.timeout_ms)
        case "try":
            return TryAction(action=children[0])
        case "emit-progress":
            return EmitProgressAction(action=children[0], failure_message_prefix="failed")
    return WRAPPERS[node.kind](actions=children)


@st.composite
def trees(draw):
    """Trees in which no two moments fall together by chance: every duration has a tail of its own."""
    serial = iter(range(1, 10_000))

    def moment(least: float, most: float) -> float:
        """A duration in s, in tenths, with a tail that no sum of others has."""
        return (
            draw(st.integers(int(least * 10), int(most * 10))) / 10 + math.sqrt(next(serial) + 0.5) % 1 * 1e-4
        )

    def grow(depth: int):
        leaves = ["run", "run", "download", "upload"]
        wrappers = ["serial", "parallel", "codependent", "timeout", "try", "emit-progress"]
        kind = draw(st.sampled_from([*leaves, *wrappers] if depth else leaves))
        if kind in ("download", "upload"):
            preparing = moment(0.1, 10) if kind == "upload" else None
            name = f"{kind}-{next(serial)}"
            return Transfer(name, moment(0.1, 20), draw(st.booleans()), preparing)
        if kind == "run":
            return Leaf(
                name=f"p{next(serial)}",
                starting=moment(0.1, 5),
                starts=draw(st.sampled_from([True, True, True, False])),
                lasts=moment(0.1, 30),
                status=draw(st.sampled_from([0, 0, 1, 7])),
                term=draw(st.sampled_from([0, NEVER, 5])) + moment(0.1, 6),
                kill=draw(st.sampled_from([0, NEVER])) + moment(0.1, 0.8),
            )
        single = kind in ("timeout", "try", "emit-progress")
        children = tuple(grow(depth - 1) for _ in range(1 if single else draw(st.integers(1, 3))))
        timeout_ms = draw(st.integers(1, 300)) * 100 + next(serial)
        return Node(kind, children, timeout_ms if kind == "timeout" else 0)

    tree = grow(draw(st.integers(0, 4)))
    return tree, draw(st.sampled_from([None, moment(0.1, 40), moment(0.1, 12)]))


def transfers_of(node):
    """The transfers of a tree, by name."""
    if isinstance(node, Transfer):
        return {node.name: node}
    children = () if isinstance(node, Leaf) else node.children
    return {name: found for child in children for name, found in transfers_of(child).items()}


class Fetching:
    """Each download takes and ends as the tree has it."""

    def __init__(self, transfers: dict[str, Transfer]) -> None:
        self._transfers = transfers
        self.held = 0

    async def fetch_file(self, url, cache_key, checksum, *, progress):
        transfer = self._transfers[url]
        await asyncio.sleep(transfer.takes)
        if transfer.fails:
            raise DownloadError
        self.held += 1
        return Fetched(Path("x.tar"), 1, self._release)

    def _release(self):
        self.held -= 1

    async def upload(self, path, url, *, progress):
        transfer = self._transfers[url]
        await asyncio.sleep(transfer.takes)
        if transfer.fails:
            raise UploadError(f"no {url}")
        return 1

    async def copy_out(self, container, path, user, target, limit):
        await asyncio.sleep(self._transfers[path].preparing)
        return 0


SLOW_AND_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=examples(300), deadline=None, suppress_health_check=SLOW_AND_SHARED)
@given(trees())
def test_every_tree_ends_when_and_as_the_model_says(in_virtual_time, new_world, script_of, case):
    tree, interrupt_at = case
    scripts: dict = {}
    action = action_of(tree, scripts)

    async def play():
        world = new_world()
        world.engine.scripts = {name: script_of(**script) for name, script in scripts.items()}
        world.fetcher = world.uploader = transfers = Fetching(transfers_of(tree))
        world.engine.copy_out = transfers.copy_out
        slots = StepSlots(downloads=FairPlaces(1000), uploads=FairPlaces(1000))
        step = world.step(action, slots=slots)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        task = asyncio.create_task(step.run())
        readiness = asyncio.create_task(step.ready.wait())
        ready_at = []
        readiness.add_done_callback(lambda _: ready_at.append(loop.time() - begun))
        if interrupt_at is not None:
            loop.call_at(begun + interrupt_at, task.cancel)
            loop.call_at(begun + interrupt_at + 3, task.cancel)
        await asyncio.wait({task})
        end = loop.time() - begun
        await asyncio.sleep(0)  # who waits for readiness hears of it a turn later
        await asyncio.sleep(0)
        assert transfers.held == 0
        assert list(world.work_dir.iterdir()) == []
        readiness.cancel()
        return end, text_of(task), ready_at[0] if ready_at else NEVER

    end, text, ready_at = in_virtual_time(play())
    stop = NEVER if interrupt_at is None else interrupt_at
    expected_end, failure = model(tree, 0, stop)
    if failure is None or text is None:
        assert text is failure
    else:
        assert in_parts(text, loose=failure.loose) == failure.parts
    assert end == pytest.approx(expected_end, abs=1e-6)
    assert ready_at == pytest.approx(ready(tree, 0, stop), abs=1e-6)


def text_of(task) -> str | None:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return None if error is None else str(error)
