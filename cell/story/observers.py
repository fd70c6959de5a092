"""Several observers of a cell's containers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from executor.containers.observing import Observer
from executor.model import Container
from executor.steps.trace import StepEvent, TraceRecorder


@dataclass(frozen=True, slots=True)
class Observers:
    """Implements :class:`executor.containers.observing.Observer`."""

    each: Sequence[Observer]

    def moved(self, container: Container) -> None:
        for observer in self.each:
            observer.moved(container)

    def noted(self, guid: str, text: str) -> None:
        for observer in self.each:
            observer.noted(guid, text)

    def removed(self, guid: str) -> None:
        for observer in self.each:
            observer.removed(guid)


@dataclass(frozen=True, slots=True)
class Recorders:
    """Implements :class:`executor.steps.trace.TraceRecorder`."""

    each: Sequence[TraceRecorder]

    def record(self, event: StepEvent) -> None:
        for recorder in self.each:
            recorder.record(event)
