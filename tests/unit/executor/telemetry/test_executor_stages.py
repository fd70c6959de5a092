"""The stages of a start, as a cell shows them to Prometheus."""

from __future__ import annotations

import pytest

from common.metrics.instruments import Instruments
from executor.telemetry.families import STAGE_DURATION, START_DURATION
from executor.telemetry.stages import StageEnded, Stages, StartStages

pytestmark = pytest.mark.unit


class Measured:
    """Stages after a creation at 0 s, and a clock that the test moves."""

    def __init__(self, *, counts: bool = True) -> None:
        self.now = 0.0
        self.instruments = Instruments()
        self.told: list[StageEnded] = []
        every = Stages(self.instruments)
        every.watcher = self.told.append
        self.stages = StartStages(every, "ig", lambda: self.now, counts=counts)

    @property
    def shown(self) -> dict[tuple[str, ...], float]:
        """Seconds by stage and outcome; the whole start has neither."""
        return {
            key: each.total
            for values in self.instruments.collect()
            if values.family in (STAGE_DURATION, START_DURATION)
            for key, each in values.distributions.items()
        }


def test_each_stage_begins_where_the_previous_one_ends() -> None:
    start = Measured()
    for at, stage in ((2.0, "setup"), (2.5, "start")):
        start.now = at
        start.stages.ended(stage)
    start.now = 9.5
    start.stages.running(20.0)
    start.stages.gave_up(cancelled=False)  # an end after the start is no stage of it
    assert start.shown == {
        ("setup", "succeeded"): 2.0,
        ("start", "succeeded"): 0.5,
        ("healthy", "succeeded"): 7.0,
        (): 20.0,
    }


@pytest.mark.parametrize(("cancelled", "outcome"), [(True, "cancelled"), (False, "failed")])
def test_a_start_that_ends_early_ends_in_its_stage(cancelled: bool, outcome: str) -> None:
    start = Measured()
    start.stages.ended("setup")
    start.now = 4.0
    start.stages.gave_up(cancelled=cancelled)
    assert start.shown == {("setup", "succeeded"): 0.0, ("start", outcome): 4.0}


def test_a_failed_setup_is_the_last_stage() -> None:
    start = Measured()
    start.now = 1.0
    start.stages.ended("setup", succeeded=False)
    start.stages.gave_up(cancelled=False)
    assert start.shown == {("setup", "failed"): 1.0}
    assert start.told == [StageEnded("ig", "setup", 1.0, "failed")]


def test_a_second_process_is_no_second_start() -> None:
    start = Measured()
    start.stages.ended("setup")
    for _ in range(3):
        start.stages.ended("start")
    assert start.shown == {("setup", "succeeded"): 0.0, ("start", "succeeded"): 0.0}


def test_an_adopted_container_tells_nothing_of_its_start() -> None:
    start = Measured(counts=False)
    start.stages.ended("setup")
    start.stages.running(1000.0)
    start.stages.gave_up(cancelled=True)
    assert start.shown == {}
