"""Codependent: children that live and die together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from executor.steps.base import CodependentExited, Step, failure_of
from executor.steps.children import interrupt, running
from executor.steps.combine import CombinedError


class Codependent:
    """The first child that ends badly stops the others; errors are combined in the order of their ends.

    error_on_exit: a child that ends well counts as an error too.
    cancel_others_on_exit: a child that ends well stops the others, without being an error.

    Siblings are interrupted once by us, and an interrupt from outside is forwarded once as well: a child
    can see two.
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
