"""A cell in a container, with an engine of its own.

All cells of a composition share one volume. Each takes the lowest free folder of it, whose number is that of
the cell; so a cell that starts again has its images, downloads and journal. The processes are the engine, a
name server for apps, and the rep.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bbs.client.identity import IdentityFiles
from bbs.embedded.store.statefolder import private_folder
from cell.assembly import lagerlog
from cell.assembly.locks import take
from cell.assembly.process import stop_signals
from cell.container import mounts
from cell.container.children import Child
from cell.container.network import apply_guard, name_server_command
from cell.container.pki import own_addresses, own_identity
from cell.container.settings import (
    ADMIN_PORT,
    APP_SUBNET,
    BBS_PORT,
    BUNDLE,
    CELLS,
    CONTROL_PLANE,
    EVACUATION_TIMEOUT,
    LOCKET_PORT,
    LOGGREGATOR_PORT,
    NAME_SERVER,
    NETWORK_PORT,
    POLLING_INTERVAL,
    RUNTIME,
    SHARED,
    CellSettings,
)
from cell.container.supervision import supervise
from cell.development import APP_STACK, BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.development.bundle import BundleError, given_bundle
from cell.development.certs import development_instance_authority
from cell.development.images import engine_client, ensure_image, mounted_paths
from cell.development.slots import DENIED_NETWORKS
from cell.development.stack import StackError, ensure_stack
from cell.development.statefolder import open_private
from cell.errors import CommandError

ENGINE_SOCKET: Final = "/var/run/docker.sock"
ENGINE: Final = f"unix://{ENGINE_SOCKET}"
MOST_CELLS: Final = 99
ENGINE_START_S: Final = 120.0
ENGINE_POLL_S: Final = 0.1
HELPER_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Slot:
    """The folder of one cell in the volume."""

    number: int
    folder: Path

    @property
    def cell_id(self) -> str:
        return f"cell-{self.number}"


@contextmanager
def lowest_free_slot(cells: Path) -> Iterator[Slot]:
    """Hold the lowest folder that no other container uses. Raises CommandError, OSError."""
    with ExitStack() as stack:
        for number in range(1, MOST_CELLS + 1):
            folder = cells / f"cell-{number}"
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            if take(folder / "lock", stack) is None:
                yield Slot(number, folder)
                return
    raise CommandError(f"{MOST_CELLS} cells run already")


def rep_config(
    slot: Slot, settings: CellSettings, identity: IdentityFiles, address: str, stack: str, programs: Path
) -> dict[str, object]:
    """The rep.json. address: of this container. stack: image of the root file system for apps."""
    instance_ca, instance_key = development_instance_authority(SHARED)
    ca, certificate, key = map(str, (identity.ca_file, identity.cert_file, identity.key_file))
    return {
        "cell_id": slot.cell_id,
        "zone": f"z{slot.number}",
        "listen_addr": f"0.0.0.0:{ADMIN_PORT}",
        "listen_addr_securable": f"0.0.0.0:{NETWORK_PORT}",
        "rep_url": f"https://{address}:{NETWORK_PORT}",
        "external_ip": address,
        "ca_cert_file": ca,
        "cert_file": certificate,
        "key_file": key,
        "bbs_address": f"https://{CONTROL_PLANE}:{BBS_PORT}",
        "locket_address": f"{CONTROL_PLANE}:{LOCKET_PORT}",
        "locket_ca_cert_file": ca,
        "locket_client_cert_file": certificate,
        "locket_client_key_file": key,
        "loggregator": {
            "loggregator_api_host": CONTROL_PLANE,
            "loggregator_api_port": LOGGREGATOR_PORT,
            "loggregator_ca_path": ca,
            "loggregator_cert_path": certificate,
            "loggregator_key_path": key,
            "loggregator_use_v2_api": True,
        },
        "instance_identity_cred_dir": str(slot.folder / "instance_identity"),
        "instance_identity_ca_path": str(instance_ca),
        "instance_identity_private_key_path": str(instance_key),
        "instance_identity_key_type": "ecdsa",
        "preloaded_root_fs": [f"{BUSYBOX_STACK}:{BUSYBOX_IMAGE}", f"{APP_STACK}:{stack}"],
        "declarative_healthcheck_path": str(programs),
        "docker_host": ENGINE,
        "memory_mb": str(settings.memory_mb),
        "disk_mb": str(settings.disk_mb),
        "state_dir": str(slot.folder / "state"),
        "cache_path": str(slot.folder / "download_cache"),
        "temp_dir": str(slot.folder / "tmp"),
        "network_subnet": APP_SUBNET,
        "dns_servers": [NAME_SERVER],
        "denied_networks": list(DENIED_NETWORKS),
        "polling_interval": POLLING_INTERVAL,
        "on_stop": settings.on_stop.value,
        "evacuation_timeout": EVACUATION_TIMEOUT,
        "time_format": "rfc3339",
    }


def engine_command(slot: Slot, settings: CellSettings) -> list[str]:
    """The engine makes no network: the cell has its own."""
    return [
        *("dockerd", f"--host={ENGINE}", f"--data-root={slot.folder / 'docker'}", "--bridge=none"),
        *("--iptables=false", "--userland-proxy=false", "--log-level=error", *settings.dockerd),
    ]


def run_cell() -> int:
    """Run until a signal, and return the exit status. Raises CommandError, OSError."""
    settings = CellSettings.of(os.environ)
    with lowest_free_slot(CELLS) as slot:
        lagerlog.install(sys.stdout, source="container", time_format="rfc3339")
        mounts.prepare()
        apply_guard()
        private_folder(RUNTIME)
        identity = own_identity(SHARED, RUNTIME, slot.cell_id, "cell")
        return asyncio.run(_run(slot, settings, identity))


async def _run(slot: Slot, settings: CellSettings, identity: IdentityFiles) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in stop_signals():
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(
            Child.running("the engine", engine_command(slot, settings), HELPER_STOP_S)
        )
        names = await stack.enter_async_context(
            Child.running("the name server", name_server_command(), HELPER_STOP_S)
        )
        if not await _engine_answers(engine, stop):
            return 0
        image, programs = await asyncio.to_thread(_prepare, slot)
        config = RUNTIME / "rep.json"
        document = rep_config(slot, settings, identity, own_addresses()[0], image, programs)
        with open_private(config, "w") as file:
            json.dump(document, file, indent=2)
        rep = [sys.executable, "-m", "cell", "rep", "-config", str(config)]
        return await supervise(rep, [engine, names], stop)


async def _engine_answers(engine: Child, stop: asyncio.Event) -> bool:
    """Wait until the engine answers; False if ``stop`` is set first. Raises CommandError."""
    deadline = time.monotonic() + ENGINE_START_S
    while not stop.is_set():
        if engine.process.returncode is not None:
            raise CommandError(
                f"the engine ended with status {engine.process.returncode}; see its messages above"
            )
        if time.monotonic() > deadline:
            raise CommandError(f"the engine did not answer within {ENGINE_START_S:g} s")
        if await _ping():
            return True
        await asyncio.sleep(ENGINE_POLL_S)
    return False


async def _ping() -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(ENGINE_SOCKET)
    except OSError:
        return False
    with closing(writer):
        writer.write(b"GET /_ping HTTP/1.0\r\n\r\n")
        with suppress(OSError):
            return b" 200 " in await reader.readline()
    return False


def _prepare(slot: Slot) -> tuple[str, Path]:
    """Image of the root file system for apps, and the unpacked programs. Raises CommandError."""
    try:
        with engine_client(ENGINE) as client:
            ensure_image(client, BUSYBOX_IMAGE, slot.folder)
            image = ensure_stack(client, slot.folder)
            mounted = mounted_paths(client)
        bundle = given_bundle(BUNDLE, slot.folder)
    except (StackError, BundleError) as error:
        raise CommandError(str(error)) from error
    bundle.remove_others(mounted)
    return image, bundle.tree
