"""The bare engine, as a floor: containers like those of a cell, made with the SDK alone, 8 at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import docker
from docker.types import LogConfig

from cell.development import BUSYBOX_IMAGE

WORKERS = 8
SLEEP = ("/bin/sleep", "1000")


@dataclass
class BareEngine:
    """An engine's client with the containers that it made. network: a mode of the engine."""

    client: docker.APIClient
    network: str
    made: list[str] = field(default_factory=list)

    def start(self, count: int, command: Sequence[str] = SLEEP) -> list[float]:
        """Create, start and exec ``count`` containers; seconds of each from the begin of all."""
        began = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(lambda _: self._start_one(command, began), range(count)))

    def _start_one(self, command: Sequence[str], began: float) -> float:
        host = self.client.create_host_config(
            binds={
                "/usr/bin/catatonit": {"bind": "/.cell/init", "mode": "ro"},
                "/bin/busybox": {"bind": "/.cell/busybox", "mode": "ro"},
            },
            mem_limit=32 << 20,
            memswap_limit=32 << 20,
            pids_limit=64,
            log_config=LogConfig(type="none"),
            network_mode=self.network,
        )
        container: str = self.client.create_container(
            BUSYBOX_IMAGE, entrypoint=["/.cell/init", "-P"], host_config=host, user="root"
        )["Id"]
        self.made.append(container)
        self.client.start(container)
        process = self.client.exec_create(container, list(command), stdout=False, stderr=False)["Id"]
        self.client.exec_start(process, detach=True)
        return time.monotonic() - began

    def remove(self) -> None:
        """Remove the containers, 8 at a time."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda one: self.client.remove_container(one, force=True, v=True), self.made))
        self.made.clear()


@contextmanager
def bare_engine(network: str = "") -> Iterator[BareEngine]:
    """A client; its containers are removed at the end. network: a mode; by default a bridge of its own."""
    client = docker.APIClient(num_pools=WORKERS * 2)
    own = "" if network else client.create_network(f"bench-{uuid.uuid4().hex[:8]}", driver="bridge")["Id"]
    engine = BareEngine(client, network or own)
    try:
        yield engine
    finally:
        engine.remove()
        if own:
            client.remove_network(own)
        client.close()
