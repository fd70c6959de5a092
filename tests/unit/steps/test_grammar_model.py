"""Any tree against a model of the grammar: when it ends, and what it says.

The model knows no tasks. A node that begins at ``start`` and hears its first interrupt at ``stop`` ends at a
time and with an error; the tree's result follows from those of its children.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbs.models.actions import (
    CodependentAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from executor.steps.text import format_duration

pytestmark = pytest.mark.unit

NEVER = math.inf
GRACE, AFTER_KILL = 10, 1


@dataclass(frozen=True)
class Failure:
    """An error of the model."""

    text: str
    hidden: bool = False
    emittable: bool = False


@dataclass(frozen=True)
class Leaf:
    """A process: how long it runs, its status, and how long it takes to die of TERM and KILL."""

    name: str
    lasts: float
    status: int
    term: float
    kill: float


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


def model_serial(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    for child in node.children:
        start, error = model(child, start, stop)
        if error or stop < start:
            return start, error
    return start, None


def model_codependent(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    first = min(model(child, start, stop)[0] for child in node.children)
    ends = [model(child, start, min(stop, first)) for child in node.children]
    exited = Failure("Codependent step exited")
    return max(end for end, _ in ends), combined([error or exited for _, error in sorted(ends, key=by_end)])


def by_end(result):
    return result[0]


def model_timeout(node: Node, start: float, stop: float) -> tuple[float, Failure | None]:
    (child,) = node.children
    timer = start + node.timeout_ms / 1000
    result = model(child, start, stop)
    if stop < timer or result[0] <= timer:
        return result
    end, error = model(child, start, timer)
    suffix = f"; {error.text}" if error and error.emittable else ""
    return end, Failure(f"exceeded {format_duration(timer - start)} timeout{suffix}", emittable=True)


def combined(errors: list[Failure]) -> Failure | None:
    texts = [error.text for error in errors if not error.hidden and error.text]
    return Failure("; ".join(texts)) if errors else None


WRAPPERS = {"serial": SerialAction, "parallel": ParallelAction, "codependent": CodependentAction}


def action_of(node, scripts: dict):
    """The action of a node; notes the scripts of its processes."""
    if isinstance(node, Leaf):
        times = {name: getattr(node, name) for name in ("lasts", "term", "kill")}
        scripts[node.name] = {name: None if value == NEVER else value for name, value in times.items()}
        scripts[node.name]["status"] = node.status
        return RunAction(path=node.name, log_source="APP")
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

    def moment(least: float, most: float, tail: float = 1.3137e-6) -> float:
        """A duration in s, in tenths, with a tail of its own."""
        return draw(st.integers(int(least * 10), int(most * 10))) / 10 + next(serial) * tail

    def grow(depth: int):
        kinds = ["run", "serial", "parallel", "codependent", "timeout", "try", "emit-progress"]
        kind = draw(st.sampled_from(kinds if depth else ["run"]))
        if kind == "run":
            return Leaf(
                name=f"p{next(serial)}",
                lasts=moment(0.1, 30),
                status=draw(st.sampled_from([0, 0, 1, 7])),
                term=draw(st.sampled_from([0, NEVER, 5])) + moment(0.1, 6),
                kill=draw(st.sampled_from([0, NEVER])) + moment(0.1, 0.8),
            )
        single = kind in ("timeout", "try", "emit-progress")
        children = tuple(grow(depth - 1) for _ in range(1 if single else draw(st.integers(1, 3))))
        return Node(kind, children, round(moment(0.1, 30, tail=1e-3) * 1000) if kind == "timeout" else 0)

    tree = grow(draw(st.integers(0, 4)))
    return tree, draw(st.sampled_from([None, moment(0.1, 40)]))


SLOW_AND_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW_AND_SHARED)
@given(trees())
def test_every_tree_ends_when_and_as_the_model_says(in_virtual_time, new_world, script_of, case):
    tree, interrupt_at = case
    scripts: dict = {}
    action = action_of(tree, scripts)

    async def play():
        world = new_world()
        world.engine.scripts = {name: script_of(**script) for name, script in scripts.items()}
        loop = asyncio.get_running_loop()
        begun = loop.time()
        task = asyncio.create_task(world.step(action).run())
        if interrupt_at is not None:
            loop.call_at(begun + interrupt_at, task.cancel)
            loop.call_at(begun + interrupt_at + 3, task.cancel)
        await asyncio.wait({task})
        if task.cancelled():
            return loop.time() - begun, "cancelled"
        error = task.exception()
        return loop.time() - begun, None if error is None else str(error)

    end, text = in_virtual_time(play())
    expected_end, failure = model(tree, 0, NEVER if interrupt_at is None else interrupt_at)
    assert text == (None if failure is None else failure.text)
    assert end == pytest.approx(expected_end, abs=1e-6)
