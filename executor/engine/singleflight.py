"""Single flight: concurrent callers with the same key share one job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.shielded import settle

K = TypeVar("K")
V = TypeVar("V")

Listener = Callable[[str], None]


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    passengers: int = 0
    listeners: list[Listener] = field(default_factory=list)


class SingleFlight(Generic[K, V]):
    """Runs one job per key at a time. A job is cancelled with its last caller."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, job: Callable[[Listener], Awaitable[V]], listener: Listener) -> V:
        """The result of ``job``, started or joined; ``listener`` gets the job's messages from then on."""
        flight = self._flights.get(key)
        if flight is None:
            listeners: list[Listener] = []

            def report_to_all(text: str) -> None:
                for listen in tuple(listeners):
                    listen(text)

            async def fly() -> V:
                return await job(report_to_all)

            flight = _Flight(asyncio.get_running_loop().create_task(fly()), listeners=listeners)
            self._flights[key] = flight
        flight.listeners.append(listener)
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            flight.listeners.remove(listener)
            if flight.task.done() or not flight.passengers:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.task.done():
                    flight.task.cancel()
                    await settle(flight.task)
