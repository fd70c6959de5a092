"""Single flight: callers who want the same thing at the same time share one effort."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from executor.shielded import settle

K = TypeVar("K")
V = TypeVar("V")

Told = Callable[[str], None]


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    passengers: int = 0
    listeners: list[Told] = field(default_factory=list)


class SingleFlight(Generic[K, V]):
    """Runs one job per key at a time. The job is cancelled when the last of its callers is."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, job: Callable[[Told], Awaitable[V]], listener: Told) -> V:
        """The result of ``job``, started now or joined; ``listener`` hears what the job tells from now on."""
        flight = self._flights.get(key)
        if flight is None:
            listeners: list[Told] = []

            def tell_all(text: str) -> None:
                for listen in tuple(listeners):
                    listen(text)

            async def fly() -> V:
                return await job(tell_all)

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
