"""A machine with systemd and its own engine, the packages, a control plane, and an app on the cell."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from cell.development import BUSYBOX_IMAGE
from tests.support.machines import Machine, booted, machine, parsed
from tests.support.paths import REPOSITORY
from tests.support.waiting import until

PLANE = "/var/lib/plane"
CERTS = "/etc/diego-cell/certs"
SERVICE = "diego-cell.service"
ADMIN_PORT, NETWORK_PORT = 1800, 1801
EVACUATION_TIMEOUT = "8s"
APP_SECRET = "geheim-of-the-app"
"""In the environment of the app, and in each line that it prints."""
APP = {
    "process_guid": "web",
    "domain": "test",
    "rootfs": "preloaded:busybox",
    "instances": 2,
    "memory_mb": 32,
    "disk_mb": 32,
    "ports": [8080],
    "action": {
        "run": {
            "path": "/bin/sh",
            "args": [
                "-c",
                "mkdir /tmp/www; echo hello >/tmp/www/index.html; (while :; do echo $PASS; sleep 1; done) &"
                " exec httpd -f -p 8080 -h /tmp/www",
            ],
            "env": [{"name": "PASS", "value": APP_SECRET}],
            "user": "vcap",
        }
    },
    "check_definition": {"checks": [{"tcp_check": {"port": 8080}}]},
}


@dataclass
class CellMachine:
    """The machine, its packages, and what the control plane knows of the app."""

    machine: Machine
    packages: list[Path]
    before: set[str] = field(default_factory=set)
    """All files before the installation."""

    def install(self, packages: list[Path] | None = None) -> str:
        """Install or upgrade the packages; the output of dpkg."""
        names = []
        for package in packages or self.packages:
            self.machine.copy_in(package, "/root/")
            names.append(f"/root/{package.name}")
        try:
            return self.machine.shell(f"dpkg --install {' '.join(names)} 2>&1")
        finally:
            self.machine.run("rm", *names)

    def configure(self, **keys: object) -> None:
        """Write the rep.json of the cell: the example, with what an operator fills in, and these keys."""
        example = json.loads((REPOSITORY / "cell/examples/rep.json").read_text())
        own: dict[str, object] = {
            "cell_id": "cell-1",
            "bbs_address": "https://127.0.0.1:8889",
            "locket_address": "127.0.0.1:8891",
            "listen_addr_securable": f"127.0.0.1:{NETWORK_PORT}",
            "rep_url": f"https://127.0.0.1:{NETWORK_PORT}",
            "preloaded_root_fs": [f"busybox:{BUSYBOX_IMAGE}"],
            "memory_mb": "1024",
            "disk_mb": "1024",
            "network_subnet": "10.201.0.0/16",
            "denied_networks": [],
            "evacuation_timeout": EVACUATION_TIMEOUT,
        }
        self.machine.write("/etc/diego-cell/rep.json", json.dumps({**example, **own, **keys}), "0640")

    def cell(self, *words: str, stdin: str | None = None) -> str:
        return self.machine.run("cell", *words, "--state-dir", PLANE, stdin=stdin)

    def instances(self) -> list[dict[str, object]]:
        """The running instances of the app, as the control plane records them."""
        rows = parsed(self.cell("lrps", "web", "--json"))
        return [row for row in rows if row["state"] == "RUNNING"]

    def guids(self) -> set[str]:
        return {str(row["instance_guid"]) for row in self.instances()}

    def addresses(self) -> list[tuple[str, int]]:
        """Where the app's instances answer, from outside of the machine."""
        inspect = ["docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.machine.name]
        host = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.strip()
        return [(host, int(port["host_port"])) for row in self.instances() for port in row["ports"]]  # type: ignore[attr-defined]

    def app_pids(self) -> set[int]:
        """Process ids of the app's programs."""
        return {int(text) for text in self.machine.run("pidof", "httpd", check=False).split()}

    def rep_pid(self) -> int:
        return int(self.machine.property(SERVICE, "MainPID"))

    def containers(self) -> list[str]:
        listed = self.machine.run("docker", "ps", "--all", "--format", "{{.Names}}")
        return listed.split()

    async def running(self) -> None:
        """Wait until both instances of the app run."""
        await until(lambda: len(self.instances()) == APP["instances"], "the app's instances")

    async def restarted(self, earlier: int) -> None:
        """Wait until another process of the rep is registered."""
        await until(
            lambda: (
                self.rep_pid() not in (0, earlier)
                and self.machine.property(SERVICE, "ActiveState") == "active"
            ),
            "the next process of the rep",
        )


@dataclass
class Requests:
    """Requests to addresses, one after the other and on new connections, without a pause for a service."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)


@asynccontextmanager
async def requests(addresses: list[tuple[str, int]]) -> AsyncIterator[Requests]:
    """Ask while inside."""
    found, over = Requests(), asyncio.Event()

    async def ask(host: str, port: int) -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection(host, port)
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    answer = await reader.read()
                    writer.close()
                    await writer.wait_closed()
                if answer.endswith(b"hello\n"):
                    found.answered += 1
                else:
                    found.failed.append(repr(answer))
            except (OSError, TimeoutError) as error:
                found.failed.append(repr(error))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for address in addresses:
            group.create_task(ask(*address))
        try:
            yield found
            seen = found.answered
            await until(lambda: found.answered > seen + len(addresses) or found.failed)
        finally:
            over.set()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Those in the folder DIEGO_CELL_PACKAGES, or built from these sources (lintian has no objection)."""
    if given := os.environ.get("DIEGO_CELL_PACKAGES"):
        return sorted(Path(given).resolve().glob("*.deb"))
    folder = tmp_path_factory.mktemp("packages")
    done = subprocess.run(
        [REPOSITORY / "scripts" / "deb", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(folder.glob("*.deb"))


@pytest.fixture(scope="module")
def empty_machine() -> Iterator[Machine]:
    with machine() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installed(empty_machine: Machine, packages: list[Path]) -> CellMachine:
    """The packages are installed, the control plane runs, rep.json is not filled in."""
    await booted(empty_machine)
    found = CellMachine(empty_machine, packages, empty_machine.files())
    found.install()
    plane = ["cell", "dev", "--cells", "0", "--tls", "--convergence-interval", "1", "--state-dir", PLANE]
    empty_machine.run("systemd-run", "--unit=plane", "--setenv=XDG_CACHE_HOME=/run/cache", *plane)
    await until(lambda: empty_machine.exists(f"{PLANE}/endpoints.json"), "the control plane")
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def cell(installed: CellMachine) -> CellMachine:
    """The cell runs as a service, with both instances of the app."""
    if installed.machine.property(SERVICE, "ActiveState") != "active":
        await started(installed)
    await installed.running()
    return installed


async def started(found: CellMachine) -> None:
    """Install, configure and start the cell, and desire the app."""
    if not found.machine.exists("/usr/bin/cell"):
        found.install()
    found.configure()
    found.machine.run("mkdir", "-p", CERTS)
    for source, target in (("ca.crt", "ca.crt"), ("rep.crt", "rep.crt"), ("rep.key", "rep.key")):
        found.machine.run("install", "-m", "0600", f"{PLANE}/tls/{source}", f"{CERTS}/{target}")
    found.machine.run("systemctl", "start", SERVICE)
    if found.machine.status("cell", "lrps", "--desired", "web", "--state-dir", PLANE)[0]:
        found.cell("desire", "-", stdin=json.dumps(APP))
