"""Three compose cells: an app pushed from outside answers through the router while cells die and return."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import asyncssh
import psutil
import pytest
import pytest_asyncio

from tests.docker.compose.conftest import CELLS, Composition, eventually, run
from tests.support.paths import REPOSITORY
from tests.support.thorough import THOROUGH
from tests.support.waiting import until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(2400),  # builds the image and starts engines in containers
    pytest.mark.skipif(not THOROUGH, reason="takes minutes: in `make test-all`"),
]

PUSH = ("-i", "3", "-m", "64M", "-t", "240s")
APP = REPOSITORY / "cell/examples/apps/python"


@dataclass
class Traffic:
    """Requests through the router, one after the other. answers: by instance."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self._ask())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self) -> None:
        timeout = aiohttp.ClientTimeout(total=30)
        headers = {"Host": "python.localhost", "Connection": "close"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            while True:
                began = time.monotonic()
                try:
                    async with session.get(self.url) as response:
                        text = await response.text()
                        if response.status == 200:
                            self.answers[text.strip()] += 1
                        else:
                            self.failures.append(f"{response.status} {text}")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failures.append(repr(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(composition: Composition) -> AsyncIterator[str]:
    """The name of an app with three instances."""
    composition.cell("push", str(APP), *PUSH)
    yield "python"
    composition.cell("delete", "python")


def url(composition: Composition) -> str:
    return f"http://127.0.0.1:{composition.router_port}/"


def spread(composition: Composition) -> Counter[str]:
    """Running instances by cell."""
    rows = composition.rows()
    return Counter(
        row["cell_id"] for row in rows if (row["state"], row["presence"]) == ("RUNNING", "ORDINARY")
    )


async def until_spread(composition: Composition, instances: int, without: str = "") -> None:
    """Wait until so many instances run, each once and none on a cell."""

    def so() -> bool:
        found = spread(composition)
        return found.total() == instances == len(composition.rows()) and without not in found

    await eventually(so, lambda: f"{composition.rows()}\n{composition.logs()}")


async def test_an_app_pushed_from_outside_answers_through_the_router(
    composition: Composition, app: str
) -> None:
    assert set(spread(composition).values()) == {1}, "one instance on each cell"
    traffic = Traffic(url(composition))
    async with traffic.flowing():
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
    assert traffic.failures == []
    assert "listening on 8080" in composition.cell("logs", "python", "--recent")


async def test_a_new_version_replaces_the_old_one_without_a_failed_request(
    composition: Composition, app: str
) -> None:
    """The router drops the instances of the old version before they stop."""
    old = {row["instance_guid"] for row in composition.rows()}
    traffic = Traffic(url(composition))
    async with traffic.flowing():
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
        await asyncio.to_thread(composition.cell, "push", str(APP), *PUSH)
        await until_spread(composition, 3)
        traffic.answers.clear()
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
    assert traffic.failures == []
    assert old.isdisjoint(row["instance_guid"] for row in composition.rows())


async def test_users_reach_an_instance_through_the_ssh_proxy(composition: Composition, app: str) -> None:
    password = (composition.client / "ssh_password").read_text().strip()
    user = f"diego:{composition.rows()[0]['process_guid']}/1"
    async with asyncssh.connect(
        "127.0.0.1", composition.ssh_port, username=user, password=password, known_hosts=None
    ) as connection:
        answer = await connection.run("echo $CF_INSTANCE_INDEX")
    assert answer.stdout == "1\n"


async def test_apps_do_not_reach_the_services_of_the_cells(composition: Composition, app: str) -> None:
    """Not even with egress rules for all addresses; the router they reach by its name."""
    probe = (
        "import socket\n"
        "for host, port in (('control-plane', 8080), ('control-plane', 8888), ('router', 8000)):\n"
        "    try:\n"
        "        socket.create_connection((host, port), 20).close(); print('open')\n"
        "    except ConnectionRefusedError:\n"
        "        print('refused')\n"
    )
    seen = composition.cell("ssh", "python", "-c", f'python3 -c "{probe}"')
    assert seen.split() == ["refused", "refused", "open"]


async def test_metrics_are_read_with_the_scrapers_certificate(composition: Composition) -> None:
    (plane,) = composition.containers("control-plane")
    folder = "/var/lib/diego-cell/scraper"
    text = run(
        *("docker", "exec", plane, "curl", "-fsS", "--cacert", f"{folder}/ca.crt"),
        *("--cert", f"{folder}/scraper.crt", "--key", f"{folder}/scraper.key", "https://cell:1800/metrics"),
    )
    assert "diego_cell_healthy 1" in text


async def test_instances_of_a_killed_cell_come_back_on_the_others(composition: Composition, app: str) -> None:
    victim = composition.rows()[0]["cell_id"]
    container = composition.container_of(victim)
    traffic = Traffic(url(composition))
    async with traffic.flowing():
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
        await asyncio.to_thread(run, "docker", "kill", container)
        await until_spread(composition, 3, without=victim)
        traffic.answers.clear()
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
    assert traffic.failures == []
    composition.compose("up", "-d", "--scale", f"cell={CELLS}")
    await composition.until_healthy()
    assert victim in composition.cells()


async def test_apps_go_on_while_a_rep_is_killed(composition: Composition, app: str) -> None:
    cell_id = composition.rows()[0]["cell_id"]
    container = composition.container_of(cell_id)
    before = processes(container)
    traffic = Traffic(url(composition))
    async with traffic.flowing():
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")
        os.kill(before["rep"], signal.SIGKILL)

        def again() -> bool:
            now = processes(container)
            return "rep" in now and now["rep"] != before["rep"] and not composition.unhealthy()

        await eventually(again, composition.logs)
    assert traffic.failures == []
    assert processes(container)["app"] == before["app"]
    assert spread(composition).total() == 3


async def test_apps_come_back_after_down_and_up(composition: Composition, app: str) -> None:
    composition.compose("down")
    assert composition.containers("cell") == []
    composition.compose("up", "-d", "--scale", f"cell={CELLS}")
    await composition.until_healthy()
    composition.fetch_client()
    await until_spread(composition, 3)
    traffic = Traffic(url(composition))
    async with traffic.flowing():
        await until(lambda: len(traffic.answers) == 3, "an answer of each instance")


async def test_fewer_cells_run_all_instances(composition: Composition, app: str) -> None:
    composition.compose("up", "-d", "--scale", f"cell={CELLS - 1}")

    def moved() -> bool:
        found = spread(composition)
        return found.total() == 3 == len(composition.rows()) and len(found) < CELLS

    await eventually(moved, composition.logs)
    composition.compose("up", "-d", "--scale", f"cell={CELLS}")
    await composition.until_healthy()


def processes(container: str) -> dict[str, int]:
    """Processes of the machine by their role in the container of a cell."""
    root = int(run("docker", "inspect", "--format", "{{.State.Pid}}", container))
    found = {}
    for process in psutil.Process(root).children(recursive=True):
        with_arguments = " ".join(process.cmdline())
        if " -m cell rep " in with_arguments:
            found["rep"] = process.pid
        elif with_arguments.endswith("python3 app.py"):
            found["app"] = process.pid
    return found
