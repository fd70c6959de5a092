"""The compose cell for tests: three cells on free ports, started once and removed at the end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cell.development.freeport import free_port
from tests.support.paths import REPOSITORY

COMPOSE_FILE = REPOSITORY / "packaging/compose/compose.yaml"
SERVICES = ("control-plane", "cell", "router", "ssh-proxy")
CELLS = 3
PATIENCE_S = 240.0
"""For containers with engines on a busy machine; only a test that fails waits so long."""
PORTS = (
    *("BBS_PORT", "LOCKET_PORT", "API_PORT", "FILE_SERVER_PORT", "LOGS_PORT", "PAGE_PORT"),
    *("ROUTER_PORT", "SSH_PORT"),
)


def compose_command() -> list[str]:
    """Compose v2 if it is installed, else docker-compose."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.fail("neither `docker compose` nor docker-compose is installed; run scripts/setup --tests")
    return ["docker-compose"]


@dataclass(frozen=True)
class Composition:
    """A running composition. client: folder with addresses and certificates for commands outside."""

    project: str
    client: Path
    router_port: int
    ssh_port: int

    def compose(self, *words: str) -> str:
        return run(*compose_command(), "-f", str(COMPOSE_FILE), "-p", self.project, *words)

    def cell(self, *words: str) -> str:
        """Run ``cell WORDS`` outside of the containers."""
        return run(sys.executable, "-m", "cell", *words, "--state-dir", str(self.client))

    def rows(self) -> list[dict[str, Any]]:
        """The instances of all apps."""
        return [json.loads(line) for line in self.cell("lrps", "--json").splitlines()]

    def cells(self) -> list[str]:
        """The registered cells."""
        return [json.loads(line)["cell_id"] for line in self.cell("cells", "--json").splitlines()]

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of a service."""
        return run(
            *("docker", "ps", "-q", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={self.project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ).split()

    def container_of(self, cell_id: str) -> str:
        """The container of a cell: containers and cells are numbered independently."""
        for container in self.containers("cell"):
            config = json.loads(run("docker", "exec", container, "cat", "/run/diego-cell/rep.json"))
            if config["cell_id"] == cell_id:
                return container
        raise AssertionError(f"no container is {cell_id}")

    def unhealthy(self) -> list[str]:
        """States of containers that are not healthy."""
        form = "{{.Name}} {{.State.Status}} {{.State.Health.Status}}"
        running = [each for service in SERVICES for each in self.containers(service)]
        states = run("docker", "inspect", "--format", form, *running).splitlines()
        return [state for state in states if not state.endswith(" running healthy")]

    async def until_healthy(self, cells: int = CELLS) -> None:
        def healthy() -> bool:
            return len(self.containers("cell")) == cells and not self.unhealthy()

        await eventually(healthy, self.logs)

    def logs(self) -> str:
        return self.compose("logs", "--tail=15")

    def fetch_client(self) -> None:
        shutil.rmtree(self.client, ignore_errors=True)
        (plane,) = self.containers("control-plane")
        run("docker", "cp", f"{plane}:/var/lib/diego-cell/dev/client", str(self.client))


def leftovers(project: str) -> list[str]:
    """Containers, volumes and networks of a project."""
    label = f"label=com.docker.compose.project={project}"
    return [
        *run("docker", "ps", "-aq", "--filter", label).split(),
        *run("docker", "volume", "ls", "-q", "--filter", label).split(),
        *run("docker", "network", "ls", "-q", "--filter", label).split(),
    ]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


async def eventually(holds: Callable[[], bool], explain: Callable[[], str]) -> None:
    """Wait for a condition that takes processes to find out; the loop goes on meanwhile."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - nothing notifies of it
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(explain()) from None


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return " ".join(compose_command())


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return f"diego-cell-test-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup(compose_image: str, compose_ports: dict[str, int]) -> list[str]:
    return [f"up -d --scale cell={CELLS}"]


@pytest.fixture(scope="session")
def compose_image() -> str:
    """The image; built if the sources have changed."""
    run(str(REPOSITORY / "packaging/image/build"))
    return "diego-cell:latest"


@pytest.fixture(scope="session")
def compose_ports() -> Iterator[dict[str, int]]:
    """Free ports instead of the usual ones."""
    with pytest.MonkeyPatch.context() as patch:
        ports = {name: free_port() for name in PORTS}
        for name, port in ports.items():
            patch.setenv(name, str(port))
        yield ports


@pytest.fixture(scope="session")
def nothing_left(docker_compose_project_name: str) -> Iterator[None]:
    """After the end of the composition: ``down -v`` removes everything of it."""
    yield
    assert leftovers(docker_compose_project_name) == []


@pytest.fixture(scope="session")
def composition(
    nothing_left: None,
    docker_services: object,
    docker_compose_project_name: str,
    compose_ports: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Composition:
    found = Composition(
        docker_compose_project_name,
        tmp_path_factory.mktemp("compose") / "client",
        compose_ports["ROUTER_PORT"],
        compose_ports["SSH_PORT"],
    )
    asyncio.run(found.until_healthy())
    found.fetch_client()
    return found
