"""Log lines, and destinations that tests block and disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from executor.logs.shipper import Unreachable
from tests.support.waiting import PATIENCE_S


class ScriptedDestination:
    """Takes batches while its gate is open. ``failures``: what the next attempts raise, in order."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.taken = asyncio.Condition()
        self.failures: list[Unreachable] = []
        self.refuses: set[int] = set()
        self.closed = False

    async def send(self, items: Sequence[bytes]) -> Collection[int]:
        self.entered.set()
        await self.gate.wait()
        async with self.taken:
            self.taken.notify_all()
            if self.failures:
                failure = self.failures.pop(0)
                self.batches.append(list(items[: failure.sent]))
                raise failure
            self.batches.append(list(items))
        return self.refuses

    async def close(self) -> None:
        self.closed = True

    @property
    def payloads(self) -> list[bytes]:
        return [item for batch in self.batches for item in batch]

    async def until(self, count: int) -> None:
        """Wait until ``count`` lines were taken."""
        async with asyncio.timeout(PATIENCE_S), self.taken:
            await self.taken.wait_for(lambda: len(self.payloads) >= count)


@pytest.fixture
def destination() -> ScriptedDestination:
    return ScriptedDestination()
