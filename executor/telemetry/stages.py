"""Stages of the start of a container, measured one after the other.

========  ===================================================================  =========================
stage     from the end of the previous stage until                             measured in
========  ===================================================================  =========================
allocate  the request to run the reservation: the BBS has granted the claim    the container's actor
queue     the creation has its turn                                            the container's actor
image     the engine has the image, unpacked                                   the engine
create    the engine has started the container                                 the engine
network   the container has its link, ports and egress rules                   the creation
setup     the setup action has ended                                           the process group
start     the first process of the action has started                          the process group
healthy   the monitor has passed, or at once without one                       the process group
========  ===================================================================  =========================
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from common.metrics.instruments import Instruments
from executor.telemetry.families import CANCELLED, FAILED, STAGE_DURATION, START_DURATION, SUCCEEDED

AFTER_CREATION: Final = ("setup", "start", "healthy")


@dataclass(frozen=True, slots=True)
class StageEnded:
    """A stage of a container has ended now, after so many seconds. outcome: as in the metric."""

    guid: str
    stage: str
    seconds: float
    outcome: str


class Stages:
    """Receives the ends of stages: for the metric, and for ``watcher``, which must not raise."""

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments
        self.watcher: Callable[[StageEnded], None] = lambda _: None

    def ended(self, guid: str, stage: str, seconds: float, outcome: str = SUCCEEDED) -> None:
        """A stage has ended now."""
        self.instruments.observe(STAGE_DURATION, seconds, stage, outcome)
        self.watcher(StageEnded(guid, stage, seconds, outcome))

    @contextmanager
    def timed(self, guid: str, stage: str) -> Iterator[None]:
        """Measure the block as a stage."""
        begun, outcome = time.monotonic(), FAILED
        try:
            yield
            outcome = SUCCEEDED
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        finally:
            self.ended(guid, stage, time.monotonic() - begun, outcome)


class StartStages:
    """The stages after the creation of one container. now: monotonic s.

    counts: False for a container that began under a previous agent process, of which they tell nothing.
    """

    def __init__(self, stages: Stages, guid: str, now: Callable[[], float], *, counts: bool = True) -> None:
        self._stages = stages
        self._guid = guid
        self._now = now
        self._at = now()
        self._left = list(AFTER_CREATION) if counts else []

    def ended(self, stage: str, *, succeeded: bool = True) -> None:
        """A stage has ended; ignored unless it is the current one. A failed stage is the last one."""
        if not self._left or self._left[0] != stage:
            return
        self._end(stage, SUCCEEDED if succeeded else FAILED)
        self._left = self._left[1:] if succeeded else []

    def running(self, since_s: float) -> None:
        """The container runs. since_s: seconds since its reservation."""
        if self._left:
            self._end(self._left[0], SUCCEEDED)
            self._left.clear()
            self._stages.instruments.observe(START_DURATION, since_s)

    def gave_up(self, *, cancelled: bool) -> None:
        """The steps have ended. If the container never ran, the current stage was its last."""
        if self._left:
            self._end(self._left[0], CANCELLED if cancelled else FAILED)
            self._left.clear()

    def _end(self, stage: str, outcome: str) -> None:
        now = self._now()
        self._stages.ended(self._guid, stage, now - self._at, outcome)
        self._at = now
