"""Recorded app logs of a real cell, compared with those of these steps.

Of each recording the lines of the first instance's steps are compared: type, source and text. Lines about
the container itself and about what was cached for it are the executor's. Elapsed times differ, so only
their form counts.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import executor.steps.check as check_module
from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from bbs.models.workload import Check, CheckDefinition, HTTPCheck, Sidecar, TCPCheck
from executor.cache.api import DownloadError, UploadError
from executor.engine.api import EngineContainer
from executor.errors import NoSuchFile
from executor.logs.streamer import LogStreamer
from executor.model import LogConfig, RunInfo
from executor.steps.tree import build_container_step
from healthcheck.probe import ProbeError
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "app-logs" / "lines.json"
RECORDED = {scenario["name"]: scenario for scenario in json.loads(GOLDEN.read_text())["scenarios"]}

Line = tuple[str, str, str]
WEB = "APP/PROC/WEB"
_OF_THE_CELL = re.compile(r"Cell \S+ (?:\w+ )*(?:container|instance) ")
_OF_DEPENDENCIES = re.compile(r"Download(ing|ed) (web server|lifecycle)( failed|\.\.\.)?$")
_ELAPSED = re.compile(r"Failed after (?:\d+m)?[\d.]+s:")
_MILLISECONDS = re.compile(r" in \d+ms$")


def comparable(text: str) -> str:
    """A line without what a clock put into it."""
    return _MILLISECONDS.sub(" in Nms", _ELAPSED.sub("Failed after N:", text))


def recorded(name: str) -> list[Line]:
    """What the steps of the first instance said."""
    lines: list[Line] = []
    created = 0
    for line in RECORDED[name]["lines"]:
        text = line.get("message") or line["message_first"][:1] * line["message_length"]
        if " creating container for instance " in text:
            created += 1
        if created < 2 and not _OF_THE_CELL.match(text) and not _OF_DEPENDENCIES.match(text):
            lines.append((line["type"], line["source_type"], comparable(text)))
    return lines


@dataclass(kw_only=True)
class Situation:
    """A container of a recording, and what happens to it.

    info: what it runs. scripts: of its processes. source: the container's. probe: what a check of a port says
    at a moment (s since the beginning), empty when it passes. stop_at: when it is stopped. bytes_per_second:
    it may log. fetched: bytes of its download. The errors are of the download, the copy and the upload.
    """

    info: RunInfo
    scripts: dict[str, dict[str, Any]] = field(default_factory=dict)
    source: str = "CELL"
    probe: Callable[[int, float], str] = lambda port, now: ""
    stop_at: float | None = None
    bytes_per_second: int = -1
    fetched: int = 0
    fetch_error: str = ""
    copy_error: str = ""
    post_error: str = ""


def app(path: str = "app", source: str = WEB, **fields: Any) -> RunAction:
    return RunAction(**({"path": path, "user": "vcap", "log_source": source} | fields))


def lrp(action: Action | None = None, **fields: Any) -> RunInfo:
    return RunInfo(**({"action": action or app(), "start_timeout_ms": 5000} | fields))


def task(*actions: Action) -> RunInfo:
    return RunInfo(action=SerialAction(actions=actions) if len(actions) > 1 else actions[0])


def checks(*checks: Check, readiness: tuple[Check, ...] = ()) -> CheckDefinition:
    return CheckDefinition(checks=checks, readiness_checks=readiness)


def droplet(**fields: Any) -> DownloadAction:
    return DownloadAction(
        **({"artifact": "droplet", "from_": "http://h/d", "to": ".", "user": "vcap"} | fields)
    )


UPLOAD = UploadAction(artifact="droplet", from_="/tmp/out", to="http://h/up", user="vcap")
TCP = Check(tcp_check=TCPCheck(port=8080, interval_ms=1000))
READY = Check(tcp_check=TCPCheck(port=8081, interval_ms=1000))
REFUSED = (
    "failed to make TCP connection to 10.254.0.2:8080: dial tcp 10.254.0.2:8080: connect: connection refused"
)
NOPE = "failed to make HTTP request to '/nope' on port 8080: received status code 500 in 7ms"
OUTLIVES_KILL: dict[str, Any] = {"term": None, "kill": None}
CHATTER = tuple(
    (0.0529 * number, b"line number %d of a chatty program\n" % (number + 1)) for number in range(50)
)


def words_of_the_app(name: str) -> tuple[tuple[float, bytes], ...]:
    """What the app of a recording wrote, and when: each word at a time of its own, and as early as scripted
    checks are, which take no time."""
    lines = [line for line in RECORDED[name]["lines"] if line["source_type"] == WEB]
    return tuple(
        (line["t"] - lines[0]["t"] - 0.1 + number * 1e-6, f"{line['message']}\n".encode())
        for number, line in enumerate(lines)
        if not line["message"].startswith("Exit status")
    )


SITUATIONS = {
    "task-success": Situation(
        source="TASK", info=task(app(source="")), scripts={"app": {"lasts": 1, "stdout": b"working\n"}}
    ),
    "task-failure": Situation(
        source="TASK",
        info=task(app(source="")),
        scripts={"app": {"lasts": 1, "status": 3, "stderr": b"bad\n"}},
    ),
    "task-result-missing": Situation(source="TASK", info=task(app(source="")), scripts={"app": {"lasts": 0}}),
    "task-cancel": Situation(
        source="TASK", info=task(app(source="")), scripts={"app": {"term_status": 0}}, stop_at=3
    ),
    "task-callback-503": Situation(
        source="TASK", info=task(app(source="")), scripts={"app": {"lasts": 0, "status": 9}}
    ),
    "task-emit-progress": Situation(
        source="TASK",
        info=task(
            EmitProgressAction(
                action=app("a", source=""), start_message="Starting", success_message="Done", log_source="STG"
            ),
            EmitProgressAction(
                action=app("b", source=""),
                start_message="Second",
                failure_message_prefix="Failed2",
                log_source="STG",
            ),
        ),
        scripts={"a": {"lasts": 1, "stdout": b"a\n"}, "b": {"lasts": 1, "status": 4}},
    ),
    "task-timeout-stubborn": Situation(
        source="TASK",
        info=task(TimeoutAction(action=app(source=""), timeout_ms=2000)),
        scripts={"app": {"term": None}},
    ),
    "task-try": Situation(
        source="TASK",
        info=task(TryAction(action=app("a", source=""), log_source="TRY"), app("b", source="")),
        scripts={"a": {"lasts": 0, "status": 1}, "b": {"lasts": 0, "stdout": b"after\n"}},
    ),
    "task-parallel-failures": Situation(
        source="TASK",
        info=task(ParallelAction(actions=tuple(app(name, source="") for name in "abc"), log_source="PAR")),
        scripts={
            "a": {"lasts": 0.1, "stdout": b"ok\n"},
            "b": {"lasts": 0.2, "status": 3},
            "c": {"lasts": 1, "status": 4},
        },
    ),
    "task-oom": Situation(
        source="TASK", info=task(app(source="")), scripts={"app": {"lasts": 0, "status": 137}}
    ),
    "task-upload": Situation(
        source="TASK",
        info=task(app(source=""), replace(UPLOAD, log_source="STG")),
        scripts={"app": {"lasts": 0}},
    ),
    "task-upload-500": Situation(
        source="TASK",
        info=task(app(source=""), UPLOAD),
        scripts={"app": {"lasts": 0}},
        post_error="Upload failed: Status code 500",
    ),
    "task-upload-missing": Situation(source="TASK", info=task(replace(UPLOAD, from_="/nowhere"))),
    "task-suppressed": Situation(
        source="TASK",
        info=task(app(source="", suppress_log_output=True)),
        scripts={"app": {"lasts": 0, "stdout": b"never seen\n"}},
    ),
    "log-start-stop": Situation(
        info=lrp(setup=droplet(log_source="STG"), check_definition=checks(TCP)),
        fetched=107,
        probe=lambda port, now: REFUSED if now < 1.5 else "",
        scripts={"app": {"later": words_of_the_app("log-start-stop")}},
        stop_at=4,
    ),
    "log-start-stop-cached": Situation(
        info=lrp(setup=droplet(), check_definition=checks(TCP)),
        probe=lambda port, now: REFUSED if now < 1.5 else "",
        scripts={"app": {"later": words_of_the_app("log-start-stop-cached")}},
        stop_at=2.2,
    ),
    "log-stop-graceful-exceeded": Situation(
        info=lrp(), scripts={"app": {"term": None, "stdout": b"start\n"}}, stop_at=1
    ),
    "log-exit-17": Situation(
        info=lrp(), scripts={"app": {"lasts": 1, "status": 17, "stdout": b"out\n", "stderr": b"err\n"}}
    ),
    "log-exit-0": Situation(info=lrp(), scripts={"app": {"lasts": 1, "stdout": b"done\n"}}),
    "log-signal": Situation(info=lrp(), scripts={"app": {"lasts": 1, "status": 137}}),
    "log-oom": Situation(info=lrp(), scripts={"app": {"lasts": 1, "status": 137}}),
    "log-download-404": Situation(
        info=lrp(setup=droplet(log_source="STG")), fetch_error="Download failed: Status code 404"
    ),
    "log-download-404-noartifact": Situation(
        info=lrp(setup=droplet(artifact="")), fetch_error="Download failed: Status code 404"
    ),
    "log-download-baddir": Situation(
        info=lrp(setup=droplet()),
        copy_error="stream-in: nstar: error streaming in: exit status 1. Output: mkdir_p_as 2000 2000:"
        " No such file or directory",
    ),
    "log-never-healthy": Situation(info=lrp(check_definition=checks(TCP)), probe=lambda port, now: REFUSED),
    "log-liveness": Situation(
        info=lrp(check_definition=checks(TCP)),
        probe=lambda port, now: REFUSED if now > 4 else "",
    ),
    "log-monitor-never": Situation(
        info=lrp(monitor=app("probe", source="")),
        scripts={"probe": {"lasts": 0, "status": 1, "stdout": b"probe\n"}},
    ),
    "log-monitor-never-parallel": Situation(
        info=lrp(
            monitor=TimeoutAction(
                action=ParallelAction(actions=(app("probe", source=""), app("silent", source=""))),
                timeout_ms=10_000,
            )
        ),
        scripts={
            "probe": {"lasts": 0, "status": 1, "stdout": b"probe-a\n"},
            "silent": {"lasts": 0, "status": 1},
        },
    ),
    "log-no-such-program": Situation(
        info=lrp(),
        scripts={
            "app": {
                "start_error": "exec failed: unable to start container process: "
                'exec: "/no/such": stat /no/such: no such file or directory'
            }
        },
    ),
    "log-no-such-user": Situation(
        info=lrp(app(source="")),
        scripts={
            "app": {"start_error": "unable to find user nobodyhere: no matching entries in passwd file"}
        },
    ),
    "log-codependent": Situation(
        info=lrp(CodependentAction(actions=(app("web"), app("ssh", source="SSHD")))),
        scripts={
            "web": {"lasts": 1, "status": 5},
            "ssh": {"term": 0.2, "term_status": 0, "later": ((1.1, b"term\n"),)},
        },
    ),
    "log-codependent-exit0": Situation(
        info=lrp(CodependentAction(actions=(app("web"), app("ssh", source="SSHD")))),
        scripts={"web": {"lasts": 1}},
    ),
    "log-sidecar-exit": Situation(
        info=lrp(sidecars=(Sidecar(action=app("side", source=f"{WEB}/SIDECAR/X")),)),
        scripts={"side": {"lasts": 1, "status": 6}},
    ),
    "log-two-failures": Situation(
        info=lrp(ParallelAction(actions=(app("a", source="A"), app("b", source="B")))),
        scripts={"a": {"lasts": 1, "status": 5}, "b": {"lasts": 2, "status": 6}},
    ),
    "log-never-healthy-http": Situation(
        info=lrp(check_definition=checks(Check(http_check=HTTPCheck(port=8080, path="/nope")))),
        probe=lambda port, now: NOPE,
        scripts={"app": OUTLIVES_KILL},
    ),
    "log-readiness": Situation(
        info=lrp(check_definition=checks(TCP, readiness=(READY,)), start_timeout_ms=60_000),
        probe=lambda port, now: "not now" if (now < 1 if port == 8080 else not 5 < now < 11) else "",
        scripts={"app": OUTLIVES_KILL},
        stop_at=18,
    ),
    "log-orphan-stop": Situation(info=lrp(), scripts={"app": OUTLIVES_KILL}, stop_at=1),
    "task-timeout": Situation(
        source="TASK",
        info=task(TimeoutAction(action=app(source=""), timeout_ms=1500)),
        scripts={"app": OUTLIVES_KILL},
    ),
    "log-rate-limit": Situation(
        info=lrp(), bytes_per_second=200, scripts={"app": {"later": CHATTER}}, stop_at=4
    ),
    "log-rate-zero": Situation(
        info=lrp(),
        bytes_per_second=0,
        scripts={"app": {"stdout": b"never seen\n"}},
        stop_at=1,
    ),
    "log-long-lines": Situation(
        info=lrp(),
        scripts={"app": {"stdout": b"x" * 61441 + b"\nno newline at end\n\n\ncr\rlf\n\ntail"}},
        stop_at=1,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
async def test_the_log_is_the_recorded_one(
    name: str, world: Any, start: Any, script_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    situation = SITUATIONS[name]
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def probe(host: str, port: int, *_: object) -> None:
        failure = situation.probe(port, loop.time() - begun)
        if failure:
            raise ProbeError(failure, 4)

    monkeypatch.setattr(check_module, "tcp_check", probe)
    monkeypatch.setattr(check_module, "http_check", probe)
    world.engine.scripts = {path: script_of(**script) for path, script in situation.scripts.items()}
    world.engine.oom = name.endswith("oom")
    world.engine.stream_in_error = situation.copy_error
    world.engine.file = b"payload\n"
    world.engine.copy_out_error = NoSuchFile() if name == "task-upload-missing" else None
    world.fetcher.size = situation.fetched
    world.fetcher.error = DownloadError(situation.fetch_error) if situation.fetch_error else None
    world.uploader.error = UploadError(situation.post_error) if situation.post_error else None
    world.config = LogConfig(guid="guid", source_name=situation.source)
    context = world.context()
    context = replace(
        context,
        engine_container=EngineContainer(guid="guid", id="id", init_pid=1, address="10.254.0.2"),
        logs=LogStreamer(world.log, world.config, situation.bytes_per_second, 0, context.tools.clock),
    )
    running = start(build_container_step(situation.info, context))
    if situation.stop_at is not None:
        loop.call_at(begun + situation.stop_at, running.interrupt)
    await running.end()
    assert [(stream, source, comparable(text)) for stream, source, text in world.log.shown] == recorded(name)


def test_most_of_the_recording_is_played() -> None:
    """The others are the same steps again, or are about the container, its image or its environment."""
    assert len(SITUATIONS) >= 40
    assert set(SITUATIONS) <= set(RECORDED)
