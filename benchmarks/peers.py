"""Peers: the same instances by `docker run`, `docker-compose`, Docker Swarm and a cell, in one run.

An engine of the benchmark's own serves all sides in turns: overlay2, no live-restore, in its own namespaces,
so that its end concerns no other container. An instance is busybox's httpd with 32 MB. The peers map no ports
and use the engine's bridge; Compose makes a network of its own for its project, as it always does. Swarm is a
single node, and its service is on the bridge of each node, not on an overlay network. Ours is a `cell rep`
under the control plane of a `cell dev`; an instance has a port and egress rules.

  burst     s until all run
  removal   s until the engine has none of the containers
  idle      percent of a core with a check of each instance every 2 s: the engine's processes, what they run
            for checks, and on our side the cell and the control plane
  memory    MB of the same processes, shared pages in parts
  restart   s from the start of what keeps the instances, after its kill -9, until all run: for the peers
            `dockerd`, for us the rep
  kept      instances whose process survived it

    .venv/bin/python -m benchmarks.peers
    .venv/bin/python -m benchmarks.peers --n 3 --idle-seconds 5
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import docker
import psutil

from benchmarks.bare import WORKERS
from benchmarks.figures import Figure, arguments_of, hand_on
from benchmarks.restart import adopted
from cell.development import BUSYBOX_IMAGE
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell
from cell.development.slots import take_slots
from tests.support.engines import OwnEngine
from tests.support.local_reps import QUICK, LocalRep

APP = ("httpd", "-f", "-p", "8080", "-h", "/etc")
CHECK = "nc -w 1 127.0.0.1 8080 </dev/null"
NAME = "peers"
DOMAIN = "peers"
ADDRESS = "198.18.0.1"
UPLINK = (
    f"ip link set lo up; ip link add up0 type bridge; ip addr add {ADDRESS}/24 dev up0; ip link set up0 up"
)
"""The network of the engine: Swarm wants an address for its node."""
BRIDGED = ("--bridge=", "--iptables=true", "--ip-masq=true")
PATIENCE_S = 300.0
UNITS = {"burst": "s", "removal": "s", "idle": "%", "memory": "MB", "restart": "s", "kept": ""}


@dataclass(frozen=True)
class Costs:
    """What one side takes; see the module."""

    burst: float
    removal: float
    idle: float
    memory: float
    restart: float
    kept: int


class Side(Protocol):
    """One way to run instances."""

    async def start(self, count: int, *, checked: bool) -> None:
        """Start so many and wait until all run."""

    async def remove(self) -> None:
        """Ask for the end of all."""

    async def restart(self, count: int) -> float:
        """Kill what keeps the instances, and start it again; seconds from its start until all run."""

    def own_processes(self) -> list[psutil.Process]:
        """What runs besides the engine."""


class Engine:
    """The engine that serves all sides."""

    def __init__(self, own: OwnEngine, folder: Path) -> None:
        self.own = own
        self.client = docker.APIClient(base_url=own.docker_host)
        self._folder = str(folder)

    def cli(self, *command: str) -> str:
        """Run a client of the engine; its output. Raises RuntimeError with what it says."""
        environment = {**os.environ, "DOCKER_HOST": self.own.docker_host, "COMPOSE_PROJECT_NAME": NAME}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """dockerd, containerd and its shims: all have the engine's folder among their arguments."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(self._folder in argument for argument in process.info["cmdline"] or ()):
                found.append(process)
        return found

    def running(self) -> dict[str, int]:
        """Process of each running container."""
        ids = [one["Id"] for one in self.client.containers()]
        return {each: self.client.inspect_container(each)["State"]["Pid"] for each in ids}

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await asyncio.to_thread(holds):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE_S:g} s for {what}")
            await asyncio.sleep(0.05)

    async def until_running(self, count: int) -> None:
        await self.until(lambda: len(self.client.containers()) == count, f"{count} containers")

    async def until_gone(self) -> None:
        await self.until(lambda: not self.client.containers(all=True), "no containers")

    async def restarted(self, count: int) -> float:
        """Kill the engine and start it again; seconds from its start until so many containers run."""
        await asyncio.to_thread(self.own.kill)
        began = time.monotonic()
        await asyncio.to_thread(self.own.start)
        await self.until_running(count)
        return time.monotonic() - began


class DockerRun:
    """`docker run`, 8 at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, count: int, *, checked: bool) -> None:
        check = ["--health-cmd", CHECK, "--health-interval", "2s"] if checked else []
        command = [
            *("docker", "run", "--detach", "--init", "--restart", "always", "--memory", "32m"),
            *("--memory-swap", "32m", "--pids-limit", "64", "--log-driver", "none", *check),
            *(BUSYBOX_IMAGE, *APP),
        ]
        await asyncio.to_thread(_in_parallel, lambda _: self._engine.cli(*command), range(count))
        await self._engine.until_running(count)

    async def remove(self) -> None:
        def one(container: str) -> None:
            self._engine.cli("docker", "rm", "--force", container)

        ids = [each["Id"] for each in self._engine.client.containers(all=True)]
        await asyncio.to_thread(_in_parallel, one, ids)

    async def restart(self, count: int) -> float:
        return await self._engine.restarted(count)

    def own_processes(self) -> list[psutil.Process]:
        return []


class Compose:
    """`docker-compose up --scale`."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        self._file = file

    async def start(self, count: int, *, checked: bool) -> None:
        check = f"    healthcheck: {{test: '{CHECK}', interval: 2s}}\n" if checked else ""
        self._file.write_text(
            f'version: "2.4"\nservices:\n  app:\n    image: {BUSYBOX_IMAGE}\n    command: {" ".join(APP)}\n'
            "    init: true\n    restart: always\n    mem_limit: 32m\n    memswap_limit: 32m\n"
            f"    pids_limit: 64\n    stop_grace_period: 1s\n    logging: {{driver: none}}\n{check}"
        )
        await self._compose("up", "--detach", "--scale", f"app={count}")
        await self._engine.until_running(count)

    async def remove(self) -> None:
        await self._compose("down", "--timeout", "1")

    async def restart(self, count: int) -> float:
        return await self._engine.restarted(count)

    def own_processes(self) -> list[psutil.Process]:
        return []

    async def _compose(self, *arguments: str) -> None:
        await asyncio.to_thread(self._engine.cli, "docker-compose", "--file", str(self._file), *arguments)


class Swarm:
    """A service of Swarm on a single node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self, count: int, *, checked: bool) -> None:
        check = ["--health-cmd", CHECK, "--health-interval", "2s"] if checked else []
        await self._cli(
            *("service", "create", "--detach", "--no-resolve-image", "--name", NAME),
            *("--replicas", str(count), "--init", "--limit-memory", "32M", "--limit-pids", "64"),
            *("--log-driver", "none", "--stop-grace-period", "1s", *check, BUSYBOX_IMAGE, *APP),
        )
        await self._engine.until_running(count)

    async def remove(self) -> None:
        await self._cli("service", "rm", NAME)

    async def restart(self, count: int) -> float:
        return await self._engine.restarted(count)

    def own_processes(self) -> list[psutil.Process]:
        return []

    async def _cli(self, *arguments: str) -> None:
        await asyncio.to_thread(self._engine.cli, "docker", *arguments)


class Ours:
    """A cell under a control plane."""

    def __init__(self, engine: Engine, plane: LocalCell, rep: LocalRep) -> None:
        self._engine = engine
        self._plane = plane
        self._rep = rep

    async def start(self, count: int, *, checked: bool) -> None:
        check = {"checks": [{"tcp_check": {"port": 8080, "interval_ms": 2000}}]}
        await self._plane.receptor.expect(
            201,
            "POST",
            "/v1/desired_lrps",
            {
                "process_guid": NAME,
                "domain": DOMAIN,
                "rootfs": "preloaded:busybox",
                "instances": count,
                "action": {"run": {"path": APP[0], "args": list(APP[1:]), "user": "root"}},
                "memory_mb": 32,
                "disk_mb": 32,
                "ports": [8080],
                "egress_rules": [{"protocol": "all", "destinations": ["0.0.0.0/0"]}],
                "log_guid": NAME,
                **({"check_definition": check} if checked else {}),
            },
        )
        await self._plane.receptor.running(NAME, count, timeout_s=PATIENCE_S)

    async def remove(self) -> None:
        await self._plane.receptor.expect(204, "DELETE", f"/v1/desired_lrps/{NAME}")

    async def restart(self, count: int) -> float:
        await self._rep.kill()
        began = time.monotonic()
        await self._rep.start()
        while adopted(self._rep.pid) < count:
            if time.monotonic() - began > PATIENCE_S:
                raise RuntimeError("the processes were not adopted")
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    def own_processes(self) -> list[psutil.Process]:
        return [psutil.Process(self._plane.pid), psutil.Process(self._rep.pid)]


def _in_parallel(work: Callable[[Any], object], items: Sequence[Any]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, items))


async def _seconds(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU so far of processes, and of those they have waited for."""
    used = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            used += sum(process.cpu_times()[:4])
    return used


async def costs_of(side: Side, engine: Engine, count: int, idle_seconds: float) -> Costs:
    """Measure one side."""

    async def gone() -> None:
        await side.remove()
        await engine.until_gone()

    await side.start(count, checked=False)  # the first starts of each are slower
    await gone()
    burst = await _seconds(side.start(count, checked=False))
    removal = await _seconds(gone())
    await side.start(count, checked=True)
    await asyncio.sleep(idle_seconds / 2)  # what the starts leave to do is done
    processes = [*engine.processes(), *side.own_processes()]
    began, used = time.monotonic(), _cpu_seconds(processes)
    await asyncio.sleep(idle_seconds)
    idle = 100 * (_cpu_seconds(processes) - used) / (time.monotonic() - began)
    memory = sum(process.memory_full_info().pss for process in processes) / 1e6
    before = engine.running()
    restart = await side.restart(count)
    after = engine.running()
    await gone()
    kept = sum(after.get(container) == process for container, process in before.items())
    return Costs(burst, removal, idle, memory, restart, kept)


@asynccontextmanager
async def our_side(engine: Engine, folder: Path) -> AsyncIterator[Ours]:
    settings = {**QUICK, "docker_host": engine.own.docker_host}
    async with local_cell(folder / "plane", arguments=["--cells", "0"]) as plane:
        with take_slots(1) as (slot,):
            rep = LocalRep(plane, slot, folder / "cell", settings=settings)
            async with rep.running():
                await plane.receptor.expect(204, "PUT", f"/v1/domains/{DOMAIN}")
                yield Ours(engine, plane, rep)


async def measure(count: int, idle_seconds: float) -> list[Figure]:
    """Print the table."""
    found: dict[str, Costs] = {}
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        own = OwnEngine(folder / "e", BRIDGED, UPLINK, "")
        with own.running():
            engine = Engine(own, folder / "e")
            ensure_image(engine.client, BUSYBOX_IMAGE, folder)

            async def side(what: str, one: Side) -> None:
                found[what] = await costs_of(one, engine, count, idle_seconds)
                print(
                    f"{what:15} {'  '.join(f'{k} {v:.2f}' for k, v in asdict(found[what]).items())}",
                    flush=True,
                )

            await side("docker run", DockerRun(engine))
            if shutil.which("docker-compose"):
                await side("docker-compose", Compose(engine, folder / "compose.yaml"))
            else:
                print("docker-compose is not installed", flush=True)
            engine.cli("docker", "swarm", "init", "--advertise-addr", ADDRESS)
            await side("swarm", Swarm(engine))
            engine.cli("docker", "swarm", "leave", "--force")
            async with our_side(engine, folder) as ours:
                await side("diego-cell", ours)
            engine.client.close()
    return list(_figures(found, count))


def _figures(found: dict[str, Costs], count: int) -> Sequence[Figure]:
    """Each cost of ours; the floor is the peer's that its name says."""
    ours = asdict(found.pop("diego-cell"))
    return [
        Figure(f"{cost}_{peer.replace(' ', '_').replace('-', '_')}", ours[cost], unit, count, theirs[cost])
        for peer, costs in found.items()
        for theirs in (asdict(costs),)
        for cost, unit in UNITS.items()
    ]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--n", type=int, default=25, help="how many instances (default 25)")
    parser.add_argument("--idle-seconds", type=float, default=20, help="how long idle counts (default 20)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.n, args.idle_seconds)), args.json)


if __name__ == "__main__":
    main()
