"""Steps: the cost to build and run a tree of actions that do nothing.

There are three shapes of try(emit_progress(...)) around an empty serial action: side by side in one parallel
action, in a row in one serial action, and side by side in nested towers of ten. The recorder keeps the
events, and the app's log goes to a ring buffer in memory, as in a cell. The floor is one bare asyncio task
per step. A step is any node of the tree.

    .venv/bin/python -m benchmarks.steps

Times are CPU times. Linear means that the cost of a step does not depend on the number of steps.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bbs.models.actions import Action, EmitProgressAction, ParallelAction, SerialAction, TryAction
from benchmarks.figures import Figure, arguments_of, hand_on
from executor.engine.api import EngineContainer
from executor.logs.sinks import RingSink
from executor.logs.streamer import LogStreamer
from executor.model import Container, LogConfig
from executor.steps.context import StepContext, StepTools
from executor.steps.trace import StepEvent
from executor.steps.tree import build_action_step

TOWER = 10
SIZES = (100, 1000, 10_000)
PER_BRANCH = 3
"""Steps of one try(emit_progress(serial()))."""


class Trace:
    """Keeps the last events of the steps."""

    def __init__(self) -> None:
        self.events: deque[StepEvent] = deque(maxlen=1000)

    def record(self, event: StepEvent) -> None:
        self.events.append(event)


def around(action: Action) -> Action:
    """try(emit_progress(action)), with all messages set."""
    return TryAction(
        action=EmitProgressAction(
            action=action, start_message="begins", success_message="done", failure_message_prefix="failed"
        )
    )


def side_by_side(count: int) -> tuple[Action, int]:
    """A tree and its number of steps."""
    return ParallelAction(actions=tuple(around(SerialAction()) for _ in range(count))), PER_BRANCH * count + 1


def in_a_row(count: int) -> tuple[Action, int]:
    """A tree and its number of steps."""
    return SerialAction(actions=tuple(around(SerialAction()) for _ in range(count))), PER_BRANCH * count + 1


def towers(count: int) -> tuple[Action, int]:
    """A tree and its number of steps."""
    branches: list[Action] = []
    for _ in range(count // TOWER):
        action: Action = SerialAction()
        for _ in range(TOWER):
            action = around(action)
        branches.append(action)
    return ParallelAction(actions=tuple(branches)), (2 * TOWER + 1) * len(branches) + 1


SHAPES: dict[str, Callable[[int], tuple[Action, int]]] = {
    "parallel": side_by_side,
    "serial": in_a_row,
    "towers": towers,
}


async def our_steps(action: Action) -> float:
    """CPU seconds to build and run the tree."""
    nobody: Any = object()  # an action that does nothing calls nothing
    context = StepContext(
        tools=StepTools(engine=nobody, fetcher=nobody, uploader=nobody),
        container=Container(guid="bench"),
        engine_container=EngineContainer(guid="bench", id="", init_pid=0, address=""),
        logs=LogStreamer(RingSink(), LogConfig(guid="bench")),
        recorder=Trace(),
    )
    gc.collect()
    began = time.process_time()
    await build_action_step(action, context).run()
    return time.process_time() - began


async def bare_tasks(count: int) -> float:
    """CPU seconds for ``count`` tasks that do nothing."""

    async def nothing() -> None:
        return

    gc.collect()
    began = time.process_time()
    await asyncio.wait([asyncio.create_task(nothing()) for _ in range(count)])
    return time.process_time() - began


async def measure(sizes: Sequence[int], rounds: int) -> list[Figure]:
    """Print one line per shape and size, and the highest cost of a step."""
    figures = []
    for shape, make in SHAPES.items():
        for size in sizes:
            action, steps = make(size)
            runs = [(await our_steps(action), await bare_tasks(steps)) for _ in range(rounds)]
            ours, floor = (1e3 * statistics.median(side) for side in zip(*runs, strict=True))
            figures.append(Figure(shape, ours / steps, "ms", size, floor / steps))
            print(
                f"{shape:12} {size:6} x try(emit_progress()) = {steps:6} steps: {ours:8.1f} ms, "
                f"{figures[-1]:.4f} ms a step (bare task: {figures[-1].floor:.4f} ms)",
                flush=True,
            )
    costs = {(figure.name, figure.size): figure.value for figure in figures}
    worst = max(figures, key=lambda figure: figure.value)
    growth = max(costs[shape, sizes[-1]] / costs[shape, sizes[0]] for shape in SHAPES)
    print(
        f"steps: at most {worst:.4f} ms a step; at {sizes[-1]} {growth:.2f} x of what one costs at {sizes[0]}"
    )
    return [
        *figures,
        Figure("worst", worst.value, "ms", floor=worst.floor),
        Figure("growth", growth, "x"),
        Figure("bare_tasks", max(figure.ratio for figure in figures), "x"),
    ]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each tree runs (default 5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many try() (default: three)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.sizes, args.rounds)), args.json)


if __name__ == "__main__":
    main()
