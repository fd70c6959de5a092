"""A reload: what takes effect at once, what needs a restart, and a file that cannot be used."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cell.assembly import lagerlog
from cell.assembly.reload import LIVE, Reloader, changed_keys
from cell.assembly.telemetry import TelemetryError
from common.tasks import running
from rep.config import RepConfig, load, validate
from tests.support.loglevels import kept_levels
from tests.support.waiting import until

pytestmark = pytest.mark.unit

KEYS: dict[str, object] = {
    "cell_id": "cell-1",
    "bbs_address": "http://127.0.0.1:1",
    "locket_address": "127.0.0.1:2",
    "listen_addr_securable": "127.0.0.1:1801",
}


class Reloaded:
    """A rep.json, and what its reloads did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[tuple[RepConfig, Collection[str]]] = []
        self.checks = 0
        self.asked = asyncio.Event()
        self.write()
        self.reloader = Reloader(
            self.read(),
            self.read,
            self.apply,
            self.check,
            asked=self.asked,
        )

    async def apply(self, config: RepConfig, keys: Collection[str]) -> None:
        if "file:/refused" in config.log_sinks:
            raise TelemetryError("log_sinks: no such place")
        self.applied.append((config, keys))

    def write(self, **keys: object) -> None:
        self.path.write_text(json.dumps({**KEYS, **keys}))

    def read(self) -> RepConfig:
        config = load(self.path)
        validate(config)
        return config

    def check(self) -> None:
        self.checks += 1


@pytest.fixture
def file(tmp_path: Path) -> Reloaded:
    return Reloaded(tmp_path / "rep.json")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, object]]]:
    caplog.set_level(logging.INFO)

    def records() -> list[tuple[str, object]]:
        own = [record for record in caplog.records if record.name == "cell.assembly.reload"]
        return [(record.message, record.__dict__["data"]) for record in own]

    return records


async def test_some_keys_take_effect_and_the_others_are_named(
    file: Reloaded, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    file.write(log_level="debug", create_work_pool_size=5, network_mtu=1400)
    await file.reloader.reload()
    ((config, keys),) = file.applied
    assert (config.log_level, config.create_work_pool_size, config.network_mtu) == ("debug", 5, 0)
    assert sorted(keys) == ["create_work_pool_size", "log_level"]
    assert logged() == [
        (
            "reloaded",
            {
                "in-use": ["log_level", "create_work_pool_size"],
                "need-a-restart": ["network_mtu"],
                "why": "they are used at the start only",
            },
        )
    ]
    await file.reloader.reload()
    again = {"in-use": [], "need-a-restart": ["network_mtu"], "why": "they are used at the start only"}
    assert logged()[1] == ("reloaded", again)
    assert file.checks == 2


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"cell_id": "cell-1", "log_level": "loud"}', '"log_level"'),
        ('{"cell_id": "cell-1", "polling_interval": 30}', '"polling_interval"'),
        ('{"cell_id": "cell-1", "create_work_pool_size": 0}', "create_work_pool_size"),
        ("{", "is not JSON"),
        (None, "cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(
    file: Reloaded, logged: Callable[[], list[tuple[str, object]]], content: str | None, named: str
) -> None:
    if content is None:
        file.path.unlink()
    else:
        file.path.write_text(content)
    await file.reloader.reload()
    assert file.applied == []
    ((message, data),) = logged()
    assert message == "reload-refused"
    assert named in str(data)
    file.write(log_level="error")
    await file.reloader.reload()
    assert [list(keys) for _, keys in file.applied] == [["log_level"]]


async def test_settings_that_cannot_be_used_change_nothing(
    file: Reloaded, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    file.write(log_sinks=["file:/refused"], log_level="debug")
    await file.reloader.reload()
    assert logged() == [("reload-refused", {"error": "log_sinks: no such place"})]
    file.write(log_sinks=["file:/a"], log_level="debug")
    await file.reloader.reload()
    ((config, keys),) = file.applied
    assert config.log_sinks == ("file:/a",)
    assert sorted(keys) == ["log_level", "log_sinks"]


async def test_a_change_of_loggregator_needs_a_restart_and_the_log_says_why(
    file: Reloaded, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    file.write(loggregator={"loggregator_api_port": 1})
    await file.reloader.reload()
    why = "the connection to loggregator carries the metrics of the cell and of all apps, too"
    keys = ["loggregator.loggregator_api_port"]
    assert logged() == [("reloaded", {"in-use": [], "need-a-restart": keys, "why": why})]


async def test_every_request_reloads(file: Reloaded) -> None:
    async with running(file.reloader.run(), "reloader"):
        for count in (1, 2):
            file.asked.set()
            await until(lambda count=count: len(file.applied) == count)


async def test_a_reload_is_announced_whether_or_not_the_file_can_be_used(file: Reloaded) -> None:
    seen: list[object] = []

    @contextmanager
    def announced() -> Iterator[None]:
        seen.append("begun")
        yield
        seen.append(len(file.applied))

    reloader = Reloader(
        file.read(),
        file.read,
        file.apply,
        file.check,
        asked=file.asked,
        announced=announced,
    )
    async with running(reloader.run(), "reloader"):
        file.asked.set()
        await until(lambda: seen == ["begun", 1])
        file.path.write_text("{")
        file.asked.set()
        await until(lambda: seen == ["begun", 1, "begun", 1])


def test_the_live_keys_exist() -> None:
    assert set(LIVE) <= {key for key, _, _ in RepConfig().effective()}


def test_a_changed_key_of_an_object_is_named() -> None:
    config = RepConfig()
    other = replace(config, loggregator=replace(config.loggregator, loggregator_api_port=1))
    assert changed_keys(config, other) == ["loggregator.loggregator_api_port"]


@pytest.fixture
def levels() -> Iterator[None]:
    with kept_levels():
        yield


@pytest.mark.usefixtures("levels")
def test_the_log_takes_other_settings(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        handler = lagerlog.install(stream, source="rep")
        try:
            log = logging.getLogger("rep.test")
            log.debug("unseen")
            lagerlog.configure(
                handler, source="rep", level="debug", time_format="rfc3339", max_data_string=0, redact=None
            )
            log.debug("seen")
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["level"]) == ("rep.seen", "debug")
