"""A machine with systemd as its first process and its own container engine, in a container."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.bundle.debian import native_architecture, one_at_a_time
from tests.support.roots import CACHE, root
from tests.support.waiting import until

REPOSITORY = "diego-cell/test-machine"
COMMAND_LIMIT_S = 300
START = "mount -o remount,rw /sys; mount -o remount,rw /proc/sys; mount --make-rshared /; exec /sbin/init"
"""As on a machine: writable settings, and mounts that reach the services (credentials are mounts)."""
RIGHTS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--device-cgroup-rule", "a *:* rwm"),
)
"""All that the outer engine can give; `--privileged` fails where the machine itself has less."""


class Failed(AssertionError):
    """A command of the machine failed; the text has its output."""


class Machine:
    """name: of its container."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """Standard output of a command. Raises Failed unless its status is 0 or ``check`` is false."""
        status, out, err = self.status(*command, stdin=stdin)
        if check and status:
            raise Failed(f"{' '.join(command)}: status {status}\n{out}\n{err}")
        return out

    def status(self, *command: str, stdin: str | None = None) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.name, *command],
            capture_output=True,
            text=True,
            check=False,
            input=stdin,
            timeout=COMMAND_LIMIT_S,
        )
        return done.returncode, done.stdout, done.stderr

    def shell(self, script: str, *, check: bool = True) -> str:
        return self.run("sh", "-c", script, check=check)

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.run("sh", "-c", 'cat >"$1" && chmod "$2" "$1"', "sh", path, mode, stdin=text)

    def read(self, path: str) -> str:
        return self.run("cat", path)

    def exists(self, path: str) -> bool:
        return self.status("test", "-e", path)[0] == 0

    def copy_in(self, source: Path, target: str) -> None:
        subprocess.run(
            ["docker", "cp", str(source), f"{self.name}:{target}"], check=True, capture_output=True
        )

    def property(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def files(self) -> set[str]:
        """All files and folders, without those that system and engine write in their own time."""
        logs = ("/var/log", "/var/cache/debconf", "/var/cache/man", "/var/lib/systemd", "/var/lib/dpkg")
        engine = ("/var/lib/docker", "/var/lib/containerd")
        pruned = ("/proc", "/sys", "/dev", "/tmp", "/run", *logs, *engine)
        tests = " -o ".join(f"-path {folder}" for folder in pruned)
        return set(self.shell(f"find / \\( {tests} \\) -prune -o -print").splitlines())


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine that has booted; it is removed at the end, with its disk."""
    image = _image()
    name = f"diego-cell-machine-{secrets.token_hex(4)}"
    create = ["docker", "run", "--detach", "--name", name, "--hostname", "cellvm", *RIGHTS]
    create += ["--volume", "/var/lib/docker", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    create += ["--tmpfs", "/run", "--tmpfs", "/tmp:exec", "--env", "container=docker"]
    subprocess.run([*create, image, "/bin/sh", "-c", START], check=True, capture_output=True)
    try:
        yield Machine(name)
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


async def booted(found: Machine) -> None:
    """Wait until the machine and its engine are up."""
    await until(lambda: found.status("docker", "info")[0] == 0, "the machine's engine")
    await until(
        lambda: found.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded"),
        "the machine's boot",
    )


def _image() -> str:
    """The image of the machine's root filesystem, imported if the engine lacks it."""
    with one_at_a_time(CACHE):
        archive = root("machine", native_architecture())
        image = f"{REPOSITORY}:{archive.stem}"
        found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
        if found.returncode:
            subprocess.run(["docker", "import", str(archive), image], check=True, capture_output=True)
    return image


def parsed(text: str) -> list[dict[str, object]]:
    """JSON lines."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
