"""What a cell says to its service manager: ready, status, reloads, progress of an evacuation, watchdog.

Without a manager (`common.notify`) nothing is sent. docs/service.md describes what systemd makes of it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from common.liveness import Liveness
from common.notify import Notifier
from executor.api import ExecutorAPI
from executor.model import ContainerState
from rep.agent import RepAgent
from rep.config import RepConfig
from rep.ending import Ending

LOOK_S: Final = 5.0
"""Longest interval between two looks at the cell."""
LOOKS_PER_WATCHDOG: Final = 4
"""A late look does not yet end the process."""
EXTENSION_S: Final = 30.0
"""Time that an evacuation asks for at each look; the manager's limit applies again once it hangs."""

logger = logging.getLogger(__name__)


class Supervision:
    """The messages of one cell. liveness: the loops that must turn for the watchdog to be fed."""

    def __init__(self, notifier: Notifier, config: RepConfig, liveness: Liveness) -> None:
        self._notifier = notifier
        self._config = config
        self._liveness = liveness
        self._is_ready = False
        self._status = ""
        self._starved = False
        if notifier.watchdog_s is not None:
            # The manager ends a process that hangs with SIGABRT: the log then shows where it hung.
            faulthandler.enable()

    def begin(self) -> None:
        """The process has read its configuration."""
        self._show(f"starting, with the container engine at {self._config.docker_host}")

    async def run(self, agent: RepAgent, executor: ExecutorAPI) -> None:
        """Report until cancelled: ready once the cell is registered, then its status and its life."""
        self._show(f"registering with {self._config.locket_address}")
        await agent.ready.wait()
        self._is_ready = True
        self._notifier.ready()
        while True:
            self._look(agent, executor)
            if agent.evacuation:
                await asyncio.sleep(self._interval_s)
            else:
                await agent.evacuation.stays_down(self._interval_s)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """A reload takes place inside. Before the cell is ready it is no event for the manager."""
        if not self._is_ready:
            yield
            return
        with self._notifier.reloading():
            yield

    def ending(self, how: Ending, limit_s: float) -> None:
        """The end has begun. limit_s: its longest time."""
        self._notifier.stopping()
        self._notifier.extend_timeout(limit_s)
        self._show(ENDINGS[how])

    @property
    def _interval_s(self) -> float:
        watchdog_s = self._notifier.watchdog_s
        return LOOK_S if watchdog_s is None else min(LOOK_S, watchdog_s / LOOKS_PER_WATCHDOG)

    def _look(self, agent: RepAgent, executor: ExecutorAPI) -> None:
        evacuating = bool(agent.evacuation)
        self._show(
            describe(
                [container.state for container in executor.containers()],
                healthy=executor.healthy,
                registered=agent.registered,
                evacuating=evacuating,
            )
        )
        if evacuating:
            self._notifier.extend_timeout(EXTENSION_S)
        self._feed_watchdog()

    def _feed_watchdog(self) -> None:
        late = self._liveness.late()
        if not late:
            self._notifier.watchdog()
        elif not self._starved:
            data = {"seconds-since-last-turn": {name: round(age) for name, age in late.items()}}
            logger.error("loops-do-not-turn", extra={"data": data})
        self._starved = bool(late)

    def _show(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._notifier.status(f"{self._config.cell_id}: {status}")


ENDINGS: Final = {
    Ending.HAND_OVER: "ending; the containers stay for the next process",
    Ending.DESTROY: "ending, with all containers",
    Ending.EVACUATE: "ending after the evacuation",
}


def describe(states: Sequence[ContainerState], *, healthy: bool, registered: bool, evacuating: bool) -> str:
    """The status of a cell in one line. states: of its containers."""
    count, running = len(states), states.count(ContainerState.RUNNING)
    containers = f"{count} container{'' if count == 1 else 's'}"
    parts = [f"evacuating, {containers} left" if evacuating else f"{containers}, {running} running"]
    if not healthy:
        parts.append("takes no work: its last check of engine and journal failed")
    if not registered:
        parts.append("not registered with Locket, tries again")
    return "; ".join(parts)
