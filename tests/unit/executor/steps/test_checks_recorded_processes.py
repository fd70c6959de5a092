"""Recorded check processes of a cell: our probes have the same targets and intervals.

``container/check-processes`` shows the processes in a container with two checks and two readiness checks.
Here no process is started; what the recorded ones were told is what our probes do.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import executor.steps.check as check_module
from bbs.models.actions import RunAction
from bbs.models.workload import Check, CheckDefinition, HTTPCheck, TCPCheck
from executor.model import RunInfo
from executor.steps.base import Step
from executor.steps.tree import build_container_step
from healthcheck.probe import ProbeError
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.executor.steps.conftest import Running, World

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "container" / "check-processes.json"

DEFINITION = CheckDefinition(
    checks=(
        Check(tcp_check=TCPCheck(port=8080)),
        Check(http_check=HTTPCheck(port=8080, path="/ping", request_timeout_ms=700, interval_ms=5000)),
    ),
    readiness_checks=(
        Check(http_check=HTTPCheck(port=8080)),
        Check(tcp_check=TCPCheck(port=8080, connect_timeout_ms=300, interval_ms=4000)),
    ),
)
"""As the recording describes it."""


@dataclass(frozen=True)
class Probed:
    """What tells the four checks apart. timeout_ms: of one probe. uri: empty for TCP."""

    port: int
    uri: str
    timeout_ms: int


def recorded_intervals(phase: str, kinds: str) -> dict[Probed, float]:
    """Seconds between probes, by check: of the processes in one of the listings of ``ps``."""
    found: dict[Probed, float] = {}
    for line in json.loads(GOLDEN.read_text())[phase]:
        if "/healthcheck " in line:
            flags = dict(re.findall(r"-([a-z-]+)=(\S+)", line))
            timeout_ms = int(flags["timeout"].removesuffix("ms"))
            probed = Probed(int(flags["port"]), flags.get("uri", ""), timeout_ms)
            (interval,) = (value for name, value in flags.items() if re.fullmatch(kinds, name))
            found[probed] = float(interval.removesuffix("s"))
    return found


STARTING = recorded_intervals("starting", "(startup|until-ready)-interval")
RUNNING = recorded_intervals("running", "(liveness|readiness)-interval")

UP_FROM_S = 5.0
"""After the start; before, every probe fails."""
LONG_S = 200.0


async def test_probes_keep_the_recorded_pace(
    world: World, start: Callable[[Step], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    probes: dict[Probed, list[float]] = defaultdict(list)

    def probe(probed: Probed) -> None:
        now = round(loop.time() - begun, 3)
        probes[probed].append(now)
        if now < UP_FROM_S:
            raise ProbeError("connection refused", 4)

    async def tcp(host: str, port: int, timeout: float, _: object) -> None:
        probe(Probed(port, "", round(timeout * 1000)))

    async def http(host: str, port: int, uri: str, timeout: float, _: object) -> None:
        probe(Probed(port, uri, round(timeout * 1000)))

    monkeypatch.setattr(check_module, "tcp_check", tcp)
    monkeypatch.setattr(check_module, "http_check", http)
    app = RunAction(path="app", user="vcap", log_source="APP")
    info = RunInfo(action=app, check_definition=DEFINITION, start_timeout_ms=60_000)
    running = start(build_container_step(info, world.context()))
    await asyncio.sleep(LONG_S)
    running.interrupt()
    await running.end()

    assert len(STARTING) == 4
    assert probes.keys() == STARTING.keys() == RUNNING.keys()
    for probed, times in probes.items():
        failed = [time for time in times if time < UP_FROM_S]
        # the one that passes ends the start, and the next check begins at once
        passed, *watched = times[len(failed) :]
        assert passed == watched[0], probed
        assert {b - a for a, b in pairwise([*failed, passed])} == {STARTING[probed]}, probed
        assert {b - a for a, b in pairwise(watched)} == {RUNNING[probed]}, probed
