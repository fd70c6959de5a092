"""Codependent: concurrent children; the first failure stops all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from executor.steps.base import CodependentExited, Step, failure_of
from executor.steps.children import CombinedError, interrupt, running


class Codependent:
    """The first failed child stops the others. Errors are combined in the order in which the children ended.

    error_on_exit: a successful exit of a child also counts as an error.
    cancel_others_on_exit: a successful exit of a child stops the others without an error.

    The step interrupts the children once, and also forwards an external interrupt once: a child can receive
    two.
    """

    def __init__(
        self, steps: Sequence[Step], *, error_on_exit: bool, cancel_others_on_exit: bool = False
    ) -> None:
        self._steps = steps
        self._error_on_exit = error_on_exit
        self._cancel_others_on_exit = cancel_others_on_exit
        self.ready = asyncio.Event()

    async def run(self) -> None:
        errors: list[BaseException] = []
        async with running(self._steps, self.ready) as tasks:
            ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
            for task in tasks:
                task.add_done_callback(ended.put_nowait)
            left = len(tasks)
            stopping = forwarded = False
            while left:
                try:
                    task = await ended.get()
                except asyncio.CancelledError:
                    if not forwarded:
                        forwarded = True
                        interrupt(tasks)
                    continue
                left -= 1
                error = failure_of(task)
                if error is None and self._error_on_exit:
                    error = CodependentExited()
                if error is not None:
                    errors.append(error)
                if (error is not None or self._cancel_others_on_exit) and not stopping:
                    stopping = True
                    interrupt(tasks)
        if errors:
            raise CombinedError(errors)
