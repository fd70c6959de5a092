"""The bundle for arm64, run by an emulator on other machines.

It takes an emulator that the kernel starts for programs of that architecture, also in containers: Debian's
``qemu-user-static`` brings one, and ``cat /usr/lib/binfmt.d/qemu-aarch64.conf >
/proc/sys/fs/binfmt_misc/register`` makes it known where nothing else did.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.bundle.conftest import build_tree, run
from tests.docker.bundle.golden import Mode, applicable, outcome

ARCHITECTURE = "arm64"
ROOTS = ("static", "musl", "bash")
"""All but the ``debian`` one, which an emulator would be too long at making, and what lies between."""
FEW = 20
LEFT_OUT = {"environment-untouched"}
"""An emulator turns the order of variables around whenever it starts a program."""
PATIENCE = "-timeout=30s"
INDEX = "image-index"
ARM64_MANIFEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of the recorded registry's index."""
HANDLER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


def _runs_here() -> bool:
    """Whether this machine runs programs for arm64, also in another root."""
    if platform.machine() == "aarch64":
        return True
    described = HANDLER.read_text().splitlines() if HANDLER.exists() else []
    return "enabled" in described and any(
        line.startswith("flags:") and "F" in line.partition(":")[2] for line in described
    )


pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not _runs_here(), reason="no emulator for arm64 is registered with the kernel"),
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("foreign"), "--arch", ARCHITECTURE)


def _at_its_own_pace(case: dict[str, Any]) -> dict[str, Any] | None:
    """The case with more time for each attempt; None when what comes out is a matter of time, or of the
    emulator.
    """
    if case["name"] in LEFT_OUT:
        return None
    if "elapsed_ms" in case or any("-timeout" in word or "-interval" in word for word in case["args"]):
        return None
    if case["program"] == "healthcheck":
        return {**case, "args": [PATIENCE, *case["args"]]}
    return case


def _cases(root: str) -> list[dict[str, Any]]:
    """In a root file system with bash all that can be run by an emulator, in the others a few of each."""
    cases = [case for case in map(_at_its_own_pace, applicable(root)) if case]
    return cases if root == "bash" else cases[::FEW]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases(
    root: str,
    box: Callable[..., Any],
    image_of: Callable[..., str],
    bundle: Path,
    library: Path,
    foreign: Path,
    certificates: Path,
) -> None:
    image = image_of(root, ARCHITECTURE)
    mode = Mode("/lifecycle")
    mismatches = outcome(_cases(root), mode, image, box, foreign, library, certificates, runner=bundle)
    # of several images it takes the one for its own architecture, which that registry names but lacks
    for mismatch in mismatches.pop(INDEX, ()):
        if mismatch.startswith("stderr"):
            assert f"reading manifest {ARM64_MANIFEST}" in mismatch
    assert mismatches == {}


@pytest.fixture
def daemon(foreign: Path, image_of: Callable[..., str], unique: str) -> Iterator[list[str]]:
    """A daemon that accepts every user, and the options of a stock client for it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = [f"-address=127.0.0.1:{port}", "-allowUnauthenticatedClients", "-inheritDaemonEnv"]
    mounts = ["--network", "host", "-v", f"{foreign}:/lifecycle:ro", "--tmpfs", "/tmp"]
    run("docker", "run", "-d", "--name", unique, *mounts, image_of("bash", ARCHITECTURE),
        "/lifecycle/diego-sshd", *flags)  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, run("docker", "logs", unique)
            time.sleep(0.05)
        told = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", f"Port={port}")
        yield [word for option in told for word in ("-o", option)]
    finally:
        run("docker", "rm", "-f", unique)


def test_a_stock_client_enters_and_copies(daemon: list[str], tmp_path: Path) -> None:
    assert run("ssh", *daemon, "127.0.0.1", "uname -m; exit 0") == "aarch64\n"
    left = subprocess.run(["ssh", *daemon, "127.0.0.1", "cat; exit 7"], input=b"in", capture_output=True)
    assert (left.returncode, left.stdout, left.stderr) == (7, b"in", b"")
    assert run("ssh", *daemon, "-tt", "127.0.0.1", "test -t 0 && echo terminal") == "terminal\n"
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(300_000))
    for protocol in ("-O", "-s"):
        run("scp", protocol, *daemon, str(there), "127.0.0.1:/tmp/copy")
        run("scp", protocol, *daemon, "127.0.0.1:/tmp/copy", str(back))
        assert back.read_bytes() == there.read_bytes()
        back.unlink()
