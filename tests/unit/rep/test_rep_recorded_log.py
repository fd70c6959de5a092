"""Names, levels and data of the rep's log, compared with a recording.

``component-log/rep`` holds every message of a Go rep's log, by phase, with the keys of its data. Operators
search for these names.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from bbs.client.api import BBSClient
from cell.assembly.lagerlog import LEVEL_NUMBERS, LagerFormatter
from common.lager import LEVELS
from executor.model import ContainerState
from rep.agent import RepAgent
from tests.support.journals import FailingJournal
from tests.support.paths import GOLDEN_FILES
from tests.support.rep_doubles import agent_config, lrp_container
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor, FakeLocket, ScriptedBBS

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "component-log" / "rep.json"

NOT_TOLD = {
    # numbers the calls of one goroutine; a record of ours says which container it is about
    "": {"session"},
    # whoever leaves the clean-up's context: a signal, an evacuation that is over, a member that failed
    "rep.evacuation-cleanup.signalled": {"signal"},
}
"""Recorded keys that ours leave out, by message; the empty one stands for all."""

AT_START = {
    "rep.started",
    "rep.locket-lock.started",
    "rep.locket-lock.acquired-lock",
    "rep.event-consumer.starting",
    "rep.event-consumer.started",
    "rep.running-bulker.starting",
    "rep.running-evacuator.started",
}
AT_EXIT = {
    "rep.evacuation-cleanup.signalled",
    "rep.evacuation-cleanup.finished-evacuating",
    "rep.evacuation-cleanup.deleted-containers-successfully",
    "rep.running-bulker.finished",
    "rep.running-evacuator.finished",
    "rep.locket-lock.released-lock",
    "rep.exited",
}
EVACUATING = {
    "rep.running-bulker.notified-of-evacuation",
    "rep.running-bulker.sync.starting",
    "rep.running-bulker.sync.finished",
    "rep.running-evacuator.notified-of-evacuation",
    "rep.running-evacuator.evacuating.evacuation-incomplete",
    "rep.running-evacuator.evacuation-complete",
}


@dataclass
class Row:
    """A recorded message. phases: of the recording, in which it appears."""

    level: str
    keys: set[str] = field(default_factory=set)
    phases: set[str] = field(default_factory=set)


def recorded_rows() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for phase, messages in json.loads(GOLDEN.read_text()).items():
        if phase == "description":
            continue
        for message in messages:
            row = rows.setdefault(message["message"], Row(message["level"]))
            row.keys |= set(message["data_keys"])
            row.phases.add(phase)
    return rows


RECORDED = recorded_rows()

CONFIG = agent_config()


@pytest.fixture
async def agent(executor: FakeExecutor, bbs: ScriptedBBS, locket: FakeLocket) -> RepAgent:
    return RepAgent(CONFIG, executor, cast(BBSClient, bbs), locket, FailingJournal(), presence_retry_s=0.01)


async def lived(agent: RepAgent, end: Callable[[], object]) -> None:
    """A whole life of the agent, ended by ``end`` when it is ready."""
    task = asyncio.create_task(agent.run())
    async with asyncio.timeout(PATIENCE_S):
        await agent.ready.wait()
        end()
        await asyncio.wait([task])
    task.result()


def written(caplog: pytest.LogCaptureFixture) -> dict[str, tuple[str, set[str]]]:
    """Level and keys of what the rep's rooms wrote, as it stands in the file, by message."""
    formatter = LagerFormatter("rep")
    lines: dict[str, tuple[str, set[str]]] = {}
    for record in caplog.records:
        if record.name.startswith("rep."):
            line: dict[str, Any] = json.loads(formatter.format(record))
            assert line["log_level"] == LEVEL_NUMBERS[record.levelno]
            lines[line["message"]] = (LEVELS[line["log_level"]], set(line["data"]))
    return lines


def agrees_with_the_recorded(lines: dict[str, tuple[str, set[str]]]) -> None:
    """Ours may contain more, and not less."""
    for message in lines.keys() & RECORDED.keys():
        level, keys = lines[message]
        row = RECORDED[message]
        assert level == row.level, message
        assert row.keys - keys <= NOT_TOLD[""] | NOT_TOLD.get(message, set()), message


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


async def test_a_life_and_an_orderly_end(agent: RepAgent, log: pytest.LogCaptureFixture) -> None:
    await lived(agent, agent.stop)
    lines = written(log)
    assert lines.keys() >= AT_START | AT_EXIT
    agrees_with_the_recorded(lines)


async def test_an_evacuation(
    agent: RepAgent,
    executor: FakeExecutor,
    bbs: ScriptedBBS,
    log: pytest.LogCaptureFixture,
) -> None:
    bbs.answers["evacuate_running_actual_lrp"] = [True, False]

    def evacuate() -> None:
        executor.put(lrp_container(ContainerState.RUNNING))
        agent.evacuation.set()

    await lived(agent, evacuate)
    lines = written(log)
    assert lines.keys() >= AT_START | EVACUATING | AT_EXIT
    agrees_with_the_recorded(lines)


async def test_a_failed_member_is_told_as_exited_with_failure_and_not_as_exited(
    agent: RepAgent, executor: FakeExecutor, log: pytest.LogCaptureFixture
) -> None:
    """Only the name that a Go rep ends well with is recorded."""
    with pytest.raises(ExceptionGroup):
        await lived(agent, executor.end_events)
    lines = written(log)
    assert lines["rep.exited-with-failure"][0] == "error"
    assert "rep.exited" not in lines
    agrees_with_the_recorded(lines)


@pytest.mark.parametrize(
    ("messages", "phases"),
    [(AT_START, {"startup"}), (AT_EXIT, {"shutdown", "evacuation"}), (EVACUATING, {"evacuation"})],
)
def test_the_names_stand_in_the_recorded_log_of_that_phase(messages: set[str], phases: set[str]) -> None:
    for message in messages:
        assert phases <= RECORDED[message].phases, message


def test_what_ours_leave_out_is_recorded() -> None:
    """An exception that no recording needs any more has to go."""
    for message, keys in NOT_TOLD.items():
        rows = [RECORDED[message]] if message else list(RECORDED.values())
        assert all(any(key in row.keys for row in rows) for key in keys), message
