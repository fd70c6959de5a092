"""Separate ``cell rep`` processes under the control plane of a ``cell dev``.

For tests and demonstrations of what happens between several cells: one can be killed, evacuated and
started again like a machine of a deployment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bbs.client.identity import IdentityFiles
from bbs.client.tls import client_context
from cell.development import BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.development.freeport import free_port
from cell.development.local import LocalCell, LocalCellError
from cell.development.service import LOOPBACK
from cell.development.slots import PORTS_PER_SLOT, Slot

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0

WHEN_ASKED = """
import sys
import cell.assembly.service
from cell.main import main
if sys.stdin.readline():
    sys.exit(main())
"""
"""`cell`, which loads its modules and begins once there is a line in its input."""

QUICK: Mapping[str, object] = {
    "lock_ttl": "120s",
    "polling_interval": "1s",
    "evacuation_polling_interval": "1s",
    "graceful_shutdown_interval": "2s",
    "envoy_config_reload_duration": "0s",
    "unhealthy_monitoring_interval": "100ms",
}
"""Intervals for those who wait: a tenth of a deployment's. A presence outlasts what a busy machine delays."""


class LocalRep:
    """One cell, which leaves nothing at its stop unless ``settings`` say so.

    config: its rep.json. log: its component log. admin, network: base URLs of its listeners.
    """

    def __init__(
        self,
        plane: LocalCell,
        slot: Slot,
        folder: Path,
        identity: IdentityFiles | None = None,
        settings: Mapping[str, object] = QUICK,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """identity: for mutual TLS with a control plane that has it.

        settings: further keys of rep.json. environment: more variables of its processes.
        """
        self.cell_id = slot.cell_id
        self.network_name = slot.network_name
        self.log = folder / "rep.log"
        self._identity = identity
        self._environment = environment or {}
        self._next: asyncio.subprocess.Process | None = None
        self.config = folder / "rep.json"
        self._process: asyncio.subprocess.Process | None = None
        scheme = "https" if identity else "http"
        admin, network = free_port(), free_port()
        self.admin = f"{scheme}://{LOOPBACK}:{admin}"
        self.network = f"{scheme}://{LOOPBACK}:{network}"
        folder.mkdir(parents=True, exist_ok=True)
        keys: dict[str, object] = {
            "cell_id": slot.cell_id,
            "zone": f"z{slot.number + 1}",
            "listen_addr": f"{LOOPBACK}:{admin}",
            "listen_addr_securable": f"{LOOPBACK}:{network}",
            "rep_url": self.network,
            "bbs_address": plane.endpoints["bbs"],
            "locket_address": plane.endpoints["locket"],
            "preloaded_root_fs": [f"{BUSYBOX_STACK}:{BUSYBOX_IMAGE}"],
            "cache_path": str(folder / "cache"),
            "temp_dir": str(folder / "tmp"),
            "state_dir": str(folder / "state"),
            "network_name": slot.network_name,
            "nft_table": slot.nft_table,
            "network_subnet": slot.subnet,
            "host_port_start": slot.host_port_start,
            "host_port_count": PORTS_PER_SLOT,
            "on_stop": "destroy",
        }
        if identity is not None:
            ca, certificate, key = map(str, (identity.ca_file, identity.cert_file, identity.key_file))
            keys |= {
                "ca_cert_file": ca,
                "cert_file": certificate,
                "key_file": key,
                "locket_ca_cert_file": ca,
                "locket_client_cert_file": certificate,
                "locket_client_key_file": key,
            }
        self.config.write_text(json.dumps({**keys, **settings}, indent=2))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Started and up when entered; stopped when left, unless it has ended before."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def prepare(self, environment: Mapping[str, str] | None = None) -> None:
        """Have the process of the next start load its modules, which takes most of the time of a start.

        It does nothing else until then. environment: more variables.
        """
        with self.log.open("ab") as output:
            self._next = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", WHEN_ASKED, "rep", "-config", str(self.config)),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment, **(environment or {})},
            )

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start, and wait until it is up. environment: more variables. Raises LocalCellError."""
        if self._next is None:
            await self.prepare(environment)
        self._process, self._next = self._next, None
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.close()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await self.answers():
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise LocalCellError(f"{self.cell_id} did not come up:\n{self.log_tail()}")
            await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        """Whether the admin side answers a ping."""
        try:
            return await self._ask("GET", "/ping") == 200
        except aiohttp.ClientError:
            return False

    async def evacuate(self) -> None:
        """Ask for an evacuation. Raises LocalCellError."""
        status = await self._ask("POST", "/evacuate")
        if status != 202:
            raise LocalCellError(f"{self.cell_id}: /evacuate answered {status}")

    async def ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Exit status, once it has ended by itself. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            return await self._running().wait()

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended, or was never started."""
        return self._process is None or self._process.returncode is not None

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to its process."""
        self._running().send_signal(signum)

    async def kill(self) -> None:
        """End it as a power cut would, unless it has ended."""
        process = self._running()
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def stop(self) -> int:
        """Ask it to end; the exit status. A process that waits for its start ends, too."""
        if self._next is not None:
            waiting, self._next = self._next, None
            assert waiting.stdin is not None
            waiting.stdin.close()
            await waiting.wait()
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    @property
    def pid(self) -> int:
        """Of its process. Raises LocalCellError before it was started."""
        return self._running().pid

    def log_tail(self, lines: int = 20) -> str:
        """The end of its component log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise LocalCellError(f"{self.cell_id} was not started")
        return self._process

    async def _ask(self, method: str, path: str) -> int:
        context = _client_context(self._identity)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.request(method, self.admin + path, ssl=context or True) as response,
        ):
            return response.status


def _client_context(identity: IdentityFiles | None) -> ssl.SSLContext | None:
    if identity is None:
        return None
    return client_context(identity.ca_file, identity.cert_file, identity.key_file)
