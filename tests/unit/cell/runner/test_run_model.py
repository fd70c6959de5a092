"""The state of the tree after events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bbs.models.actions import CodependentAction, ParallelAction, RunAction, TimeoutAction
from cell.story.progress import State
from executor.steps.trace import Outcome
from tests.support.run_scripts import Script, failed_run

pytestmark = pytest.mark.unit

RUN = RunAction(path="/bin/true", user="vcap")
NextStory = Callable[[Any], Any]


def test_every_step_waits_until_it_begins() -> None:
    tree = Script(TimeoutAction(action=RUN, timeout_ms=100)).start("action/timeout").tree
    assert [(row.node.path, row.state, row.depth) for row in tree] == [
        ("action/timeout", State.RUNNING, 0),
        ("action/timeout/run", State.WAITING, 1),
    ]


def test_the_failing_step_is_the_first_leaf_nobody_forgave() -> None:
    failing = failed_run().tree.failing()
    assert failing.node.path == "action/serial[2]/parallel[1]/run"
    assert (failing.reason, failing.cause, failing.exit_status) == ("TEST: Exited with status 4", "a bug", 4)


def test_a_combination_that_fails_by_itself_is_the_failing_step() -> None:
    story = Script(TimeoutAction(action=RUN, timeout_ms=100)).start("action/timeout", "action/timeout/run")
    story.end("action/timeout/run", Outcome.CANCELLED).fail("action/timeout", "exceeded 100ms timeout")
    assert story.tree.failing().node.path == "action/timeout"


def test_of_two_that_failed_the_earlier_one() -> None:
    left, right = "action/parallel[0]/run", "action/parallel[1]/run"
    story = Script(ParallelAction(actions=(RUN, RUN))).start("action/parallel", left, right)
    story.fail(right, "second").fail(left, "first").fail("action/parallel", "second; first")
    assert story.tree.failing().node.path == right
    assert [row.node.path for row in story.tree.failures()] == [left, right]


def test_nothing_fails_in_a_run_that_succeeds() -> None:
    assert Script(RUN).start("action/run").end("action/run").over().tree.failing() is None


def test_a_line_belongs_to_the_running_step_of_its_source() -> None:
    tree = failed_run().tree
    assert tree.row("action/serial[1]/try/run").last_line == "all is lost"
    assert tree.row("action/serial[2]/parallel[1]/run").last_line == "1 test failed"


def test_of_two_steps_with_the_same_source_the_younger_one() -> None:
    story = Script(CodependentAction(actions=(RUN, RUN))).start("action/codependent")
    story.start("action/codependent[0]/run").log("old").start("action/codependent[1]/run").log("young")
    assert story.tree.row("action/codependent[0]/run").last_line == "old"
    assert story.tree.row("action/codependent[1]/run").last_line == "young"


def test_bytes_move() -> None:
    row = failed_run().tree.row("action/serial[0]/download")
    assert (row.transferred, row.total, row.state) == (2048, 2048, State.SUCCEEDED)


def test_time_runs_while_a_step_does() -> None:
    story = Script(RUN).start("action/run")
    row = story.tree.row("action/run")
    assert row.elapsed(row.started_ns + 2_500_000_000) == 2.5
    ended = story.end("action/run").tree.row("action/run")
    assert ended.elapsed(ended.ended_ns + 1_000_000_000) == ended.seconds == 0.01


def test_a_step_the_plan_does_not_know_is_shown_too() -> None:
    tree = Script(RUN).start("post-setup/run").tree
    assert [row.node.path for row in tree] == ["action/run", "post-setup/run"]
