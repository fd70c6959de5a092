"""A control plane and its cells on this machine, in one process: what `cell dev` runs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bbs.client.identity import IdentityFiles
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.serving.address import Address
from cell.assembly import lagerlog
from cell.assembly.cell import composed_cell
from cell.assembly.console import Console
from cell.assembly.failures import Reported, reported_errors
from cell.assembly.logfile import LogFile
from cell.assembly.process import raise_descriptor_limit, relax_garbage_collector, stop_signals
from cell.assembly.telemetry import open_telemetry
from cell.development import APP_STACK, BUSYBOX_IMAGE, BUSYBOX_STACK
from cell.development.bundle import Bundle, BundleError, given_bundle, own_bundle
from cell.development.certs import development_identities, development_instance_authority
from cell.development.endpoints import published
from cell.development.freeport import free_port
from cell.development.images import engine_client, ensure_image, mounted_paths
from cell.development.leftovers import remove_unclaimed
from cell.development.logboard import LogBoard
from cell.development.pages import control_page
from cell.development.slots import DENIED_NETWORKS, PORTS_PER_SLOT, Slot, take_slots
from cell.development.stack import StackError, ensure_stack
from cell.development.statefolder import KEYS_NAME, LOG_NAME, held
from cell.errors import CommandError
from cell.page.control import ControlSource
from common.gotext import parse_duration
from executor.logs.api import LogSink
from executor.logs.sinks import FanOut
from rep.config import Duration, RepConfig, load
from rep.ending import Ending
from rep.redaction import Redaction

LOOPBACK = "127.0.0.1"
ADMIN_PORT, NETWORK_PORT = 1800, 1801
PAGE_PORT = 8086
LOGS_PORT = 8087

LOG_BYTES = 16 << 20
"""Size at which the component log is rotated."""

POLLING_INTERVAL = "10s"
"""Interval of a development cell: residual records go sooner than with the 30 s of a deployment."""

UPLOAD_POLLING_INTERVAL_S = 0.1
"""Interval of polls for an uploaded droplet; this process answers them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line's settings."""

    state_dir: Path
    any_ports: bool
    cells: int
    config: Path | None
    tls: bool
    convergence_interval_s: float
    bundle: Path | None = None
    allow_privileged: bool = False
    allowed_hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Resources prepared before the start. stack: image of the root filesystem for apps. bundle: if any."""

    stack: str
    bundle: Bundle | None


def serve(settings: Settings) -> int:
    """Run until a signal, and return the exit status. Errors of the user are printed."""
    try:
        with reported_errors(lambda text: print(f"cell dev: {text}", file=sys.stderr)), ExitStack() as stack:
            base = load(settings.config) if settings.config else RepConfig()
            stack.enter_context(held(settings.state_dir, "cell dev"))
            _install_log(settings.state_dir / LOG_NAME, base.log_level, base.redact_patterns)
            raise_descriptor_limit()
            slots = stack.enter_context(take_slots(settings.cells))
            identities = development_identities(settings.state_dir / KEYS_NAME) if settings.tls else {}
            prepared = _prepare(settings, base.docker_host, stack)
            configs = [_rep_config(settings, base, prepared, slot, identities.get("rep")) for slot in slots]
            relax_garbage_collector()
            asyncio.run(_run(settings, configs, identities))
    except Reported:
        return 1
    return 0


def _install_log(path: Path, level: str, redact_patterns: Sequence[str]) -> None:
    """Write the component log to a private file, with secrets redacted. Raises OSError, ValueError."""
    try:
        redact = Redaction(redact_patterns)
    except re.error as error:
        raise ValueError(f"redact_patterns: {error}") from error
    log = LogFile(path, most_bytes=LOG_BYTES)
    lagerlog.install(log, source="cell", level=level, time_format="rfc3339", redact=redact)


def _prepare(settings: Settings, docker_host: str, resources: ExitStack) -> Prepared:
    """Prepare the bundle, and the root filesystems that the engine lacks, from this machine's files.

    docker_host: the cells' engine. resources: releases the bundle at its end. Root filesystems and bundles of
    earlier versions are removed.
    """
    try:
        with engine_client(docker_host) as client:
            ensure_image(client, BUSYBOX_IMAGE, settings.state_dir)
            stack = ensure_stack(client, settings.state_dir)
            mounted = mounted_paths(client)
    except StackError as error:
        raise CommandError(str(error)) from error
    try:
        bundle = given_bundle(settings.bundle, settings.state_dir) if settings.bundle else own_bundle()
        resources.enter_context(bundle.held())
    except BundleError as error:
        if settings.bundle is not None:
            raise CommandError(str(error)) from error
        print(f"cell dev: {error}\ncell dev: going on; `cell stage` and `cell push` need it", file=sys.stderr)
        return Prepared(stack, None)
    bundle.remove_others(mounted)
    bundle.serve(settings.state_dir / "static")
    return Prepared(stack, bundle)


def _addresses(any_ports: bool) -> Addresses:
    usual = Addresses()
    if not any_ports:
        return usual
    free = Address(LOOPBACK, 0)
    return Addresses(bbs=free, locket=free, auctioneer=free, receptor=free, fileserver=free)


def _rep_config(
    settings: Settings, base: RepConfig, prepared: Prepared, slot: Slot, identity: IdentityFiles | None
) -> RepConfig:
    """A cell's settings: those of ``base`` with the slot's resources."""
    shift = 0 if settings.any_ports else 2 * slot.number
    admin = free_port() if settings.any_ports else ADMIN_PORT + shift
    network = free_port() if settings.any_ports else NETWORK_PORT + shift
    state_dir = settings.state_dir / slot.cell_id
    ca, certificate, key = (
        (str(identity.ca_file), str(identity.cert_file), str(identity.key_file)) if identity else ("", "", "")
    )
    if not base.instance_identity_cred_dir:
        base = _with_instance_identity(base, settings.state_dir, state_dir)
    return replace(
        base,
        cell_id=slot.cell_id,
        zone=base.zone or f"z{slot.number + 1}",
        listen_addr=f"{LOOPBACK}:{admin}",
        listen_addr_securable=f"{LOOPBACK}:{network}",
        rep_url=f"{'https' if identity else 'http'}://{LOOPBACK}:{network}",
        ca_cert_file=ca,
        cert_file=certificate,
        key_file=key,
        locket_ca_cert_file=ca,
        locket_client_cert_file=certificate,
        locket_client_key_file=key,
        polling_interval=base.polling_interval
        if settings.config
        else Duration(parse_duration(POLLING_INTERVAL)),
        preloaded_root_fs=base.preloaded_root_fs
        or (f"{BUSYBOX_STACK}:{BUSYBOX_IMAGE}", f"{APP_STACK}:{prepared.stack}"),
        allow_privileged_containers=base.allow_privileged_containers or settings.allow_privileged,
        declarative_healthcheck_path=base.declarative_healthcheck_path
        or (str(prepared.bundle.tree) if prepared.bundle else ""),
        cache_path=str(state_dir / "download_cache"),
        temp_dir=str(state_dir / "tmp"),
        state_dir=str(state_dir),
        on_stop=Ending.DESTROY.value,
        network_name=slot.network_name,
        nft_table=slot.nft_table,
        denied_networks=base.denied_networks or DENIED_NETWORKS,
        network_subnet=slot.subnet,
        host_port_start=slot.host_port_start,
        host_port_count=PORTS_PER_SLOT,
    )


def _with_instance_identity(base: RepConfig, shared: Path, own: Path) -> RepConfig:
    """Give instances certificates of the machine's own CA, with elliptic curve keys, which are cheap."""
    certificate, key = development_instance_authority(shared / KEYS_NAME)
    return replace(
        base,
        instance_identity_cred_dir=str(own / "instance_identity"),
        instance_identity_ca_path=str(certificate),
        instance_identity_private_key_path=str(key),
        instance_identity_key_type="ecdsa",
    )


async def _run(
    settings: Settings, configs: Sequence[RepConfig], identities: Mapping[str, IdentityFiles]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in stop_signals():
        loop.add_signal_handler(signum, stop.set)
    board = LogBoard()
    console = Console(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    sink = FanOut([console, board])
    plane = ControlPlane(
        PlaneConfig(
            state_dir=settings.state_dir,
            addresses=_addresses(settings.any_ports),
            tls=identities.get("control-plane"),
            explain_placement=True,
            allowed_hosts=settings.allowed_hosts,
            cell_addresses=[
                Address.parse(address)
                for config in configs
                for address in (config.listen_addr, config.listen_addr_securable)
            ],
            convergence_interval_s=settings.convergence_interval_s,
            upload_polling_interval_s=UPLOAD_POLLING_INTERVAL_S,
        )
    )
    logs_at = Address(LOOPBACK, 0 if settings.any_ports else LOGS_PORT)
    page_at = Address(LOOPBACK, 0 if settings.any_ports else PAGE_PORT)
    async with (
        console.running(),
        plane,
        board.serving(logs_at, settings.allowed_hosts) as logs_url,
        control_page(plane.bbs, page_at, settings.allowed_hosts) as (page_url, shown),
    ):
        configs = [
            replace(config, bbs_address=plane.bbs_url, locket_address=str(plane.addresses.locket))
            for config in configs
        ]
        await remove_unclaimed(plane, settings.state_dir / "static")
        ready = [asyncio.Event() for _ in configs]
        async with asyncio.TaskGroup() as group:
            for config, up in zip(configs, ready, strict=True):
                group.create_task(_cell(config, sink, stop, up, shown))
            announcing = group.create_task(
                _announce(
                    settings, plane, logs_url, page_url, configs, ready, identities.get("client"), console
                )
            )
            await stop.wait()
            announcing.cancel()


async def _cell(
    config: RepConfig, sink: LogSink, stop: asyncio.Event, up: asyncio.Event, shown: ControlSource
) -> None:
    """Run one cell until ``stop`` is set."""
    async with (
        open_telemetry(config, sink) as telemetry,
        composed_cell(config, telemetry) as cell,
        asyncio.TaskGroup() as group,
    ):
        agent = cell.agent
        shown.add(cell.shown)
        running = group.create_task(agent.run())
        watchers = [group.create_task(stop.wait()), group.create_task(_pass_on(agent.ready, up))]
        await asyncio.wait([running, watchers[0]], return_when=asyncio.FIRST_COMPLETED)
        agent.stop()
        await asyncio.wait([running])
        for watcher in watchers:
            watcher.cancel()


async def _pass_on(ready: asyncio.Event, up: asyncio.Event) -> None:
    await ready.wait()
    up.set()


async def _announce(
    settings: Settings,
    plane: ControlPlane,
    logs_url: str,
    page_url: str,
    configs: Sequence[RepConfig],
    ready: Sequence[asyncio.Event],
    client: IdentityFiles | None,
    console: Console,
) -> None:
    """Once all cells are up, publish the addresses on the console and in endpoints.json until cancelled."""
    for event in ready:
        await event.wait()
    addresses = plane.addresses
    endpoints: dict[str, object] = {
        "bbs": plane.bbs_url,
        "locket": str(addresses.locket),
        "auctioneer": addresses.auctioneer.url(tls=client is not None),
        "receptor": addresses.receptor.url(),
        "file_server": addresses.fileserver.url(),
        "logs": logs_url,
        "page": page_url,
        "cells": [
            {
                "cell_id": config.cell_id,
                "admin": f"{'https' if client else 'http'}://{config.listen_addr}",
                "network": config.rep_url,
                "interface": config.network_name,
                "nft_table": config.nft_table,
            }
            for config in configs
        ],
    }
    if client is not None:
        endpoints["tls"] = {
            "ca": str(client.ca_file),
            "cert": str(client.cert_file),
            "key": str(client.key_file),
        }
    names = ("bbs", "locket", "auctioneer", "receptor", "file_server", "logs", "page")
    lines = [f"{name:12} {endpoints[name]}" for name in names]
    lines += [f"{config.cell_id:12} {config.rep_url}" for config in configs]
    lines += [f"state        {settings.state_dir}", "up; Ctrl-C stops everything"]
    with published(settings.state_dir, endpoints):
        console.print("\n".join(lines))
        await asyncio.Future()  # until cancelled
