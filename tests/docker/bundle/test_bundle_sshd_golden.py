"""The recorded cases of ``diego-sshd``, with the bundle's program inside containers.

The tests are those of the daemon started from this repository's sources; here it starts in a container on
the host's network that has the tests' folders under their own names.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sshd.conftest import Daemons, Keys
from tests.unit.sshd.conftest import connect_to as connect_to
from tests.unit.sshd.conftest import daemon as daemon
from tests.unit.sshd.conftest import keys as keys
from tests.unit.sshd.conftest import port as port
from tests.unit.sshd.conftest import probe as probe
from tests.unit.sshd.conftest import ssh as ssh
from tests.unit.sshd.daemon.test_golden_sessions import test_session
from tests.unit.sshd.scp.test_golden_scp import test_scp
from tests.unit.sshd.ssh.test_golden_algorithms import (
    test_extension_message,
    test_five_refused_keys_then_the_right_one,
    test_offer,
    test_six_refused_keys,
    test_stock_client,
)
from tests.unit.sshd.test_golden_startup import test_start

__all__ = [
    "test_extension_message",
    "test_five_refused_keys_then_the_right_one",
    "test_offer",
    "test_scp",
    "test_session",
    "test_six_refused_keys",
    "test_start",
    "test_stock_client",
]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

ROOTS = ("debian", "busybox", "bash")
"""The last one is the one before and bash: it is for the cases that the one before has no use for."""
_OTHER_SHELL = "recorded with bash; without one the shell is /bin/sh, which says so itself"
NEED_BASH = {
    "exec-environment": _OTHER_SHELL,
    "exec-not-found": _OTHER_SHELL,
    "shell-from-stdin": _OTHER_SHELL,
    "env-set": "busybox's shell passes no variables on whose names are no identifiers",
    "pty-window-change": "busybox's shell ends a trap's plain exit with the interrupted command's status",
}
"""Case -> why it is the shell's affair, not the daemon's, how it comes out. ``conftest.py`` keeps these from
the root file system without bash, and everything else from the one that only adds it.
"""


def has_use_for(root: str, case: str) -> bool:
    """Whether a recorded case is to come out in a root file system."""
    return root == "debian" or (case in NEED_BASH) == (root == "bash")


LIB = "/lifecycle/lib"
PYTHON = [f"{LIB}/ld.so", "--library-path", LIB, f"{LIB}/python3", "-I", "-S", "-c"]
BECOME = """
import posix, sys
pid_file, argv0, count, *rest = sys.argv[1:]
with open(pid_file, "w") as file:
    file.write(str(posix.getpid()))
env = dict(pair.split("=", 1) for pair in rest[: int(count)])
posix.execve("/lifecycle/diego-sshd", [argv0, *rest[int(count) :]], env)
"""
"""Exactly the wanted environment and argv[0], which the engine alone does not offer."""
SIGNAL = "import posix, sys; posix.kill(int(sys.argv[1]), int(sys.argv[2]))"


class Inside(subprocess.Popen[bytes]):
    """A process in a container that takes signals and ends like one of ours."""

    def __init__(self, container: str, pid_file: Path, command: list[str], cwd: Path, **streams: Any) -> None:
        self._container = container
        self._pid_file = pid_file
        super().__init__(["docker", "exec", "-w", str(cwd), container, *command], **streams)

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            pid = self._pid_file.read_text()
            subprocess.run(
                ["docker", "exec", self._container, *PYTHON, SIGNAL, pid, str(int(sig))], check=True
            )

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        code = super().poll()
        return None if code is None else self._as_ours(code)

    def wait(self, timeout: float | None = None) -> int:
        return self._as_ours(super().wait(timeout))

    def _as_ours(self, code: int) -> int:
        """The engine's client reports a signal as 128 more than its number."""
        self.returncode = 128 - code if code > 128 else code
        return self.returncode


class DaemonsInside(Daemons):
    """Daemons in one container."""

    argv0 = "/lifecycle/diego-sshd"

    def __init__(self, keys: Keys, homes: Path, container: str) -> None:
        super().__init__(keys, homes)
        self._container = container
        self._count = 0

    def start(
        self,
        argv0: str,
        arguments: Sequence[str],
        cwd: Path,
        env: dict[str, str],
        stdout: int,
        stderr: int | None,
    ) -> subprocess.Popen[bytes]:
        self._count += 1
        pid_file = self._homes.parent / f"{self._homes.name}-{self._count}.pid"
        settings = [f"{name}={value}" for name, value in env.items()]
        command = [*PYTHON, BECOME, str(pid_file), argv0, str(len(settings)), *settings, *arguments]
        return Inside(
            self._container,
            pid_file,
            command,
            cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


@pytest.fixture(scope="session", params=ROOTS)
def root(request: pytest.FixtureRequest) -> str:
    """Name of the root file system."""
    return str(request.param)


@pytest.fixture(scope="session")
def daemons(
    root: str,
    keys: Keys,
    bundle: Path,
    image_of: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemons]:
    homes = tmp_path_factory.mktemp("homes")
    name = f"sshd-golden-{root}-{os.getpid()}"
    base = tmp_path_factory.getbasetemp()
    wait = [*PYTHON, "import select; select.select([], [], [])"]
    binds = ["-v", f"{bundle}:/lifecycle:ro", "-v", f"{base}:{base}"]
    with contextlib.ExitStack() as ending:
        ending.callback(subprocess.run, ["docker", "rm", "-f", name], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(
            [
                "docker",
                "run",
                "-d",
                "--init",
                "--name",
                name,
                "--network",
                "host",
                *binds,
                image_of(root),
                *wait,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        inside = DaemonsInside(keys, homes, name)
        ending.callback(inside.stop)
        yield inside
