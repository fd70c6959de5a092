"""Stories of a cell's containers, kept for views: what happened to each, and how far its steps are.

A story is kept while its container exists; the last :data:`ENDED_MOST` remain after that. Everything is
bounded per container. The executor calls at every change, so a call only stores values.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from typing import Final

from cell.story.plan import OutlineRow, outline
from cell.story.progress import StepProgressed
from executor.clock import Clock, SystemClock
from executor.model import Container, ContainerState, RunInfo
from executor.steps.trace import StepEvent

STEPS_MOST: Final = 500
"""Steps of a container whose progress is kept."""
MOMENTS_MOST: Final = 64
"""Moments of a container; beyond it, the oldest are dropped."""
ENDED_MOST: Final = 100
"""Stories kept of containers that are gone."""
ACTIVITY_MOST: Final = 200
"""Moments of the whole cell."""

ADOPTED: Final = "adopted"
WAITING: Final = "waiting"
STOPPING: Final = "stopping"
READY: Final = "ready"
NOT_READY: Final = "not ready"
REMOVED: Final = "removed"

_ACTIVITY: Final = frozenset({ContainerState.RUNNING.value, ContainerState.COMPLETED.value, NOT_READY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One move. what: a container state, or one of the words above. time_ns: since the epoch."""

    time_ns: int
    what: str
    text: str = ""


@dataclass(slots=True, kw_only=True)
class Story:
    """container: as it is, or as it was at its end, without its actions and variables.

    steps: progress by path. unrecorded: further steps. changes: counts everything that happened.
    """

    container: Container
    moments: deque[Moment] = field(default_factory=lambda: deque(maxlen=MOMENTS_MOST))
    steps: dict[str, StepProgressed] = field(default_factory=dict)
    unrecorded: int = 0
    changes: int = 0
    removed: bool = False
    _outline: tuple[OutlineRow, ...] | None = None

    @property
    def guid(self) -> str:
        return self.container.guid

    def outline(self) -> tuple[OutlineRow, ...]:
        """The container's steps; empty before its run request."""
        if self._outline is None:
            rows = tuple(outline(self.container.run_info, STEPS_MOST))
            if self.container.state is ContainerState.RESERVED:
                return rows
            self._outline = rows
        return self._outline

    def record(self, event: StepEvent) -> None:
        """Implements :class:`executor.steps.trace.TraceRecorder`."""
        self.changes += 1
        step = self.steps.get(event.path)
        if step is None:
            if len(self.steps) >= STEPS_MOST:
                self.unrecorded += 1
                return
            step = self.steps[event.path] = StepProgressed()
        step.take(event)

    def add(self, moment: Moment) -> None:
        """Add a moment; a further note replaces the last one, because a pull reports often."""
        if moment.what == WAITING and self.moments and self.moments[-1].what == WAITING:
            moment = replace(moment, time_ns=self.moments.pop().time_ns)
        self.moments.append(moment)
        self.changes += 1

    def end(self, time_ns: int) -> None:
        """The container is gone: keep only what its views show."""
        self.outline()
        info = self.container.run_info
        kept = RunInfo(root_fs=info.root_fs, log_config=info.log_config, metrics_config=info.metrics_config)
        self.container = replace(self.container, run_info=kept)
        self.removed = True
        self.add(Moment(time_ns=time_ns, what=REMOVED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """A moment of the cell. number: consecutive. container: without its actions and variables."""

    number: int
    moment: Moment
    container: Container


class Stories:
    """Implements :class:`executor.containers.observing.Observer`; ``recorder`` records the steps."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._live: dict[str, Story] = {}
        self._ended: OrderedDict[str, Story] = OrderedDict()
        self._happened: deque[Happened] = deque(maxlen=ACTIVITY_MOST)
        self._count = 0

    @property
    def kept(self) -> int:
        """The number of stories."""
        return len(self._live) + len(self._ended)

    def of(self, guid: str) -> Story | None:
        """The story of a container; None if it is unknown, or gone for long."""
        return self._live.get(guid) or self._ended.get(guid)

    def since(self, number: int) -> list[Happened]:
        """What happened after the moment with a number, oldest first, as far as it is kept."""
        return [each for each in self._happened if each.number > number]

    def recorder(self, guid: str) -> Story:
        """The recorder of a container's steps."""
        return self._live.get(guid) or Story(container=Container(guid=guid))

    def moved(self, container: Container) -> None:
        story = self._live.get(container.guid)
        if story is None:
            story = self._live[container.guid] = Story(container=container)
            self._ended.pop(container.guid, None)
            is_new = container.state is ContainerState.RESERVED
            self._tell(story, container.state.value if is_new else ADOPTED, "")
            return
        before, story.container = story.container, container
        asked = container.run_result.stopped and not before.run_result.stopped
        if asked and container.state is not ContainerState.COMPLETED:  # then the cell only cleans up
            self._tell(story, STOPPING, "")
        if container.state is not before.state:
            self._tell(story, container.state.value, container.run_result.failure_reason)
        elif container.routable != before.routable and container.state is ContainerState.RUNNING:
            self._tell(story, READY if container.routable else NOT_READY, "")

    def noted(self, guid: str, text: str) -> None:
        if (story := self._live.get(guid)) is not None:
            self._tell(story, WAITING, text)

    def removed(self, guid: str) -> None:
        story = self._live.pop(guid, None)
        if story is None:
            return
        story.end(self._clock.time_ns())
        self._ended[guid] = story
        while len(self._ended) > ENDED_MOST:
            self._ended.popitem(last=False)

    def _tell(self, story: Story, what: str, text: str) -> None:
        moment = Moment(time_ns=self._clock.time_ns(), what=what, text=text)
        story.add(moment)
        if what in _ACTIVITY:
            self._count += 1
            labels = story.container.run_info.metrics_config
            bare = replace(story.container, run_info=RunInfo(metrics_config=labels))
            self._happened.append(Happened(number=self._count, moment=moment, container=bare))
