"""What a story keeps of a container, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bbs.models.actions import ParallelAction, RunAction
from bbs.models.workload import Check, CheckDefinition, TCPCheck
from cell.story import stories
from cell.story.plan import outline, plan
from cell.story.progress import State
from cell.story.stories import Stories
from executor.model import Container, ContainerState, RunInfo, RunResult
from executor.steps.trace import Facts, Outcome, StepEnded, StepProgress, StepStarted
from tests.support.clocks import HeldClock
from tests.support.shown_cells import GROUP, PROGRAM, TREE

pytestmark = pytest.mark.unit

WORK = RunInfo(action=TREE, env=(("TOKEN", "secret"),))
RESERVED = Container(guid="c")


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def told(clock: HeldClock) -> Stories:
    return Stories(clock)


def whats(told: Stories, guid: str = "c") -> list[str]:
    story = told.of(guid)
    assert story is not None
    return [moment.what for moment in story.moments]


def test_each_state_of_a_container_is_a_moment(told: Stories, clock: HeldClock) -> None:
    created = replace(RESERVED, state=ContainerState.CREATED, run_info=WORK)
    for container in (
        RESERVED,
        replace(RESERVED, state=ContainerState.INITIALIZING, run_info=WORK),
        created,
        replace(created, state=ContainerState.RUNNING, routable=True),
        replace(created, state=ContainerState.RUNNING, routable=False),
        replace(created, state=ContainerState.RUNNING, run_result=RunResult(stopped=True)),
        replace(created, state=ContainerState.COMPLETED, run_result=RunResult(failed=True, stopped=True)),
    ):
        clock.now += 1
        told.moved(container)
    expected = ["reserved", "initializing", "created", "running", "not ready", "stopping", "completed"]
    assert whats(told) == expected
    story = told.of("c")
    assert story is not None
    assert [moment.time_ns for moment in story.moments] == [
        int((101 + second) * 1e9) for second in range(len(expected))
    ]


def test_a_container_of_the_previous_agent_begins_as_adopted(told: Stories) -> None:
    told.moved(replace(RESERVED, state=ContainerState.RUNNING))
    assert whats(told) == ["adopted"]


def test_notes_of_one_wait_are_one_moment_with_the_last_text(told: Stories) -> None:
    told.moved(RESERVED)
    told.noted("c", "pulling image x")
    told.noted("c", "pulling image x: 3 of 7 MB")
    story = told.of("c")
    assert story is not None
    assert [moment.text for moment in story.moments] == ["", "pulling image x: 3 of 7 MB"]
    told.noted("unknown", "nothing happens")


def test_steps_are_kept_by_path(told: Stories) -> None:
    told.moved(RESERVED)
    recorder = told.recorder("c")
    recorder.record(StepStarted(path=GROUP, time_ns=5))
    recorder.record(StepProgress(path=GROUP, time_ns=6, transferred_bytes=10, total_bytes=20))
    recorder.record(StepStarted(path=PROGRAM, time_ns=7))
    recorder.record(
        StepEnded(
            path=PROGRAM,
            time_ns=9,
            seconds=2.0,
            outcome=Outcome.FAILED,
            reason="Exited with status 3",
            facts=Facts(exit_status=3),
        )
    )
    story = told.of("c")
    assert story is not None
    assert (story.steps[GROUP].state, story.steps[GROUP].transferred) == (State.RUNNING, 10)
    assert (story.steps[PROGRAM].state, story.steps[PROGRAM].exit_status) == (State.FAILED, 3)


def test_a_removed_container_leaves_its_story_without_its_secrets(told: Stories) -> None:
    told.moved(RESERVED)
    told.moved(replace(RESERVED, state=ContainerState.INITIALIZING, run_info=WORK))
    told.removed("c")
    story = told.of("c")
    assert story is not None
    assert story.removed
    assert whats(told)[-1] == "removed"
    assert story.container.run_info.env == ()
    assert story.container.run_info.action is None
    assert PROGRAM in {row.path for row in story.outline()}


def test_everything_is_bounded(told: Stories) -> None:
    told.moved(RESERVED)
    for number in range(stories.STEPS_MOST + 7):
        told.recorder("c").record(StepStarted(path=f"action/parallel[{number}]/run", time_ns=1))
    for number in range(stories.MOMENTS_MOST * 2):
        told.moved(replace(RESERVED, state=ContainerState.RUNNING, routable=bool(number % 2)))
    story = told.of("c")
    assert story is not None
    assert (len(story.steps), story.unrecorded) == (stories.STEPS_MOST, 7)
    assert len(story.moments) == stories.MOMENTS_MOST
    for number in range(stories.ENDED_MOST + 5):
        told.moved(Container(guid=f"n{number}"))
        told.removed(f"n{number}")
    assert told.kept == stories.ENDED_MOST + 1
    assert told.of("n4") is None
    assert told.of("n5") is not None
    assert len(told.since(0)) <= stories.ACTIVITY_MOST


def test_a_guid_that_comes_again_has_a_new_story(told: Stories) -> None:
    told.moved(RESERVED)
    told.removed("c")
    told.moved(RESERVED)
    assert whats(told) == ["reserved"]
    assert told.kept == 1


def test_what_happened_on_the_cell_is_numbered(told: Stories) -> None:
    told.moved(RESERVED)
    running = replace(RESERVED, state=ContainerState.RUNNING, run_info=WORK)
    told.moved(running)
    told.moved(replace(running, state=ContainerState.COMPLETED, run_result=RunResult(failed=True)))
    happened = told.since(0)
    assert [(each.number, each.moment.what) for each in happened] == [(1, "running"), (2, "completed")]
    assert told.since(1) == happened[1:]
    assert all(each.container.run_info.env == () for each in happened)


def test_an_outline_has_the_paths_of_the_plan() -> None:
    definition = CheckDefinition(
        checks=(Check(tcp_check=TCPCheck(port=1)),), readiness_checks=(Check(tcp_check=TCPCheck(port=1)),)
    )
    info = RunInfo(setup=RunAction(path="/s"), action=TREE, check_definition=definition)
    nodes = [node for root in plan(info) for node in root.walk()]
    rows = outline(info, 100)
    assert [row.path for row in rows] == [node.path for node in nodes]
    assert [row.label for row in rows] == [node.label for node in nodes]


def test_an_outline_of_a_large_tree_is_its_begin_and_the_checks() -> None:
    info = RunInfo(
        action=ParallelAction(actions=(RunAction(path="/x"),) * 1000), monitor=RunAction(path="/probe")
    )
    rows = outline(info, 10)
    assert len(rows) == 10
    assert rows[0].path == "action/parallel"
    assert rows[-1].path == "monitor"
