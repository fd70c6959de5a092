"""Fixtures of the bundle tests: its files, root file systems, containers without a network."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.errors import APIError, ImageNotFound, NotFound

from cell.development.images import remove_others
from lifecycle.bundle.sources import default_cache
from tests.docker.bundle.golden import Mode, chosen, outcome
from tests.docker.bundle.golden_certificates import write_certificates
from tests.support.thorough import THOROUGH

START_TIMEOUT = 60.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A recorded case of the daemon is no test of a root file system that has no use for it."""
    left_out = [item for item in items if isinstance(item, pytest.Function) and not _has_use(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _has_use(item: pytest.Function) -> bool:
    chosen = getattr(item.module, "has_use_for", None)
    if chosen is None:
        return True
    given: dict[str, Any] = item.callspec.params
    case = given.get("case") or given.get("recorded")
    return bool(chosen(given["root"], case["name"] if case else ""))


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def build_tree(place: Path, *arguments: str) -> Path:
    """The bundle's files after unpacking, readable for every user."""
    for folder in (place, *place.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    run(sys.executable, "-m", "lifecycle.bundle.build", "--tree-only", str(place / "tree"), *arguments)
    return place / "tree"


def standard_library(architecture: str) -> Path:
    """All of it, of the bundle's interpreter, for the runner of the cases."""
    unpacked = default_cache() / "unpacked"
    found = sorted(unpacked.glob(f"{architecture}-*/usr/lib/python3.*/threading.py"))
    return found[-1].parent


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle for this machine."""
    return build_tree(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def library(bundle: Path) -> Path:
    """Its standard library; ``bundle`` has fetched it."""
    return standard_library(run("dpkg", "--print-architecture").strip())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, an unrelated one, a server's and a client's key pair."""
    folder = tmp_path_factory.mktemp("certs")
    write_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def image_of(docker_client: APIClient) -> Callable[..., str]:
    """The image with a root file system (debian, musl, bash, busybox, static), imported when first asked
    for. A second name is another architecture's.
    """

    def image(name: str, architecture: str | None = None) -> str:
        foreign = ["--arch", architecture] if architecture else []
        archive = Path(run(sys.executable, "-m", "tests.support.roots", name, *foreign).strip())
        root, _, version = archive.stem.rpartition("-")
        tag = f"diego-cell/test-root-{root}:{version}"
        try:
            docker_client.inspect_image(tag)
        except ImageNotFound:
            run("docker", "import", str(archive), tag)
            remove_others(docker_client, tag)
        return tag

    return image


class Box:
    """A container whose standard streams are ours."""

    def __init__(self, client: APIClient, name: str, process: subprocess.Popen[str]) -> None:
        self._client = client
        self.name = name
        self.process = process

    def pid(self) -> int:
        """The pid of its first process, once that runs."""
        waiting = threading.Event()
        for _ in range(int(START_TIMEOUT / 0.05)):
            with contextlib.suppress(NotFound, APIError):
                pid = int(self._client.inspect_container(self.name)["State"]["Pid"])
                if pid:
                    return pid
            if self.process.poll() is not None:
                pytest.fail(f"the container did not start: {self.process.communicate()[1]}")
            waiting.wait(0.05)
        pytest.fail(f"the container did not start within {START_TIMEOUT} s")

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` in its network namespace."""
        run("nsenter", "-t", str(self.pid()), "-n", "ip", *arguments)


@pytest.fixture
def box(docker_client: APIClient, unique: str) -> Iterator[Callable[..., Box]]:
    """Starts a container without network: ``box(image, command, mounts, options)``."""
    with contextlib.ExitStack() as ending:

        def start(image: str, command: list[str], mounts: dict[Path, str], options: list[str]) -> Box:
            binds = [part for source, target in mounts.items() for part in ("-v", f"{source}:{target}:ro")]
            isolated = ["--network", "none", "--sysctl", "net.ipv6.conf.all.disable_ipv6=0"]
            temporary = ["--tmpfs", "/tmp:exec,mode=1777"]
            docker = ["docker", "run", "--rm", "-i", "--name", unique]
            process = subprocess.Popen(
                [*docker, *isolated, *temporary, *options, *binds, image, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            ending.enter_context(process)
            ending.callback(subprocess.run, ["docker", "rm", "-f", unique], capture_output=True, check=False)
            return Box(docker_client, unique, process)

        yield start


@pytest.fixture
def replay(
    box: Callable[..., Box],
    image_of: Callable[[str], str],
    bundle: Path,
    library: Path,
    certificates: Path,
) -> Callable[[Mode, str], None]:
    """The cases of a mode and a root filesystem come out there as recorded."""

    def replay(mode: Mode, root: str) -> None:
        cases = chosen(mode, root)
        assert len(cases) > (200 if THOROUGH else 10)
        assert outcome(cases, mode, image_of(root), box, bundle, library, certificates) == {}

    return replay
