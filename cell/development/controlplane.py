"""The embedded control plane without cells: what `cell control-plane` runs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bbs.client.identity import IdentityFiles
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.serving.address import Address
from cell.assembly import lagerlog
from cell.assembly.failures import Reported, reported_errors
from cell.assembly.process import raise_descriptor_limit, relax_garbage_collector, stop_signals
from cell.development.bundle import BundleError, check_complete, serve_archives
from cell.development.endpoints import published
from cell.development.leftovers import remove_unclaimed
from cell.development.logboard import LogBoard
from cell.development.logingress import ingress
from cell.development.pages import control_page
from cell.development.statefolder import held
from cell.errors import CommandError
from cell.story.tails import Tails
from executor.logs.sinks import FanOut

UPLOAD_POLLING_INTERVAL_S = 0.1
"""Interval of polls for an uploaded droplet; this process answers them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Listen addresses. loggregator: takes the app logs of cells, None without TLS."""

    bbs: Address
    locket: Address
    auctioneer: Address
    api: Address
    file_server: Address
    logs: Address
    page: Address
    loggregator: Address | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The command line's settings.

    identity: None for plain HTTP and gRPC. trusted_network: the listeners without TLS may be reached from
    other machines. upload_hosts: ``host:port`` of the file server as cells call it. bundle: folder of the
    lifecycle archives.
    """

    state_dir: Path
    listeners: Listeners
    identity: IdentityFiles | None
    trusted_network: bool
    allowed_hosts: Sequence[str]
    upload_hosts: Sequence[str]
    convergence_interval_s: float
    bundle: Path | None


def check(settings: Settings) -> None:
    """Refuse listeners with which every client on the network could run containers. Raises CommandError."""
    where = settings.listeners
    if settings.identity is None:
        _on_loopback([where.bbs, where.locket, where.auctioneer], "give --ca-cert, --cert and --key")
    if not settings.trusted_network:
        _on_loopback([where.api, where.file_server, where.logs], "or give --trusted-network")
        _on_loopback([where.page], "or give --trusted-network", can="read logs")


def _on_loopback(addresses: Sequence[Address], otherwise: str, *, can: str = "run containers") -> None:
    for address in addresses:
        if not address.is_loopback:
            raise CommandError(
                f"without TLS, clients of the listener at {address} can {can}: use a loopback address,"
                f" {otherwise}"
            )


def serve(settings: Settings) -> int:
    """Run until a signal, and return the exit status. Errors of the user are printed."""
    try:
        with reported_errors(lambda text: print(f"cell control-plane: {text}", file=sys.stderr)):
            check(settings)
            with ExitStack() as stack:
                stack.enter_context(held(settings.state_dir, "cell control-plane"))
                lagerlog.install(sys.stdout, source="control-plane", time_format="rfc3339")
                raise_descriptor_limit()
                if settings.bundle is not None:
                    _serve_bundle(settings.bundle, settings.state_dir)
                relax_garbage_collector()
                asyncio.run(_run(settings))
    except Reported:
        return 1
    return 0


def _serve_bundle(archives: Path, state_dir: Path) -> None:
    try:
        check_complete(archives)
    except BundleError as error:
        raise CommandError(str(error)) from error
    serve_archives(archives.resolve(), state_dir / "static")


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in stop_signals():
        loop.add_signal_handler(signum, stop.set)
    async with running_plane(settings) as endpoints:
        with published(settings.state_dir, endpoints):
            logger.info("started", extra={"data": endpoints})
            await stop.wait()
            logger.info("stopping")


@asynccontextmanager
async def running_plane(settings: Settings) -> AsyncIterator[dict[str, object]]:
    """A control plane and the app logs while the context lasts; yields the document of its addresses.

    Raises ListenError, StoreError, TLSConfigurationError.
    """
    where, identity = settings.listeners, settings.identity
    board, tails = LogBoard(), Tails()
    plane = ControlPlane(
        PlaneConfig(
            state_dir=settings.state_dir,
            addresses=Addresses(
                bbs=where.bbs,
                locket=where.locket,
                auctioneer=where.auctioneer,
                receptor=where.api,
                fileserver=where.file_server,
            ),
            tls=identity,
            explain_placement=True,
            allowed_hosts=settings.allowed_hosts,
            upload_hosts=settings.upload_hosts,
            convergence_interval_s=settings.convergence_interval_s,
            upload_polling_interval_s=UPLOAD_POLLING_INTERVAL_S,
        )
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(plane)
        logs = await stack.enter_async_context(board.serving(where.logs, settings.allowed_hosts))
        page, _ = await stack.enter_async_context(
            control_page(plane.bbs, where.page, settings.allowed_hosts, tails)
        )
        loggregator = None
        if where.loggregator is not None and identity is not None:
            loggregator = await stack.enter_async_context(
                ingress(where.loggregator, identity, FanOut([board, tails]))
            )
        await remove_unclaimed(plane, settings.state_dir / "static")
        addresses = plane.addresses
        endpoints: dict[str, object] = {
            "bbs": plane.bbs_url,
            "locket": str(addresses.locket),
            "auctioneer": addresses.auctioneer.url(tls=identity is not None),
            "receptor": addresses.receptor.url(),
            "file_server": addresses.fileserver.url(),
            "logs": logs,
            "page": page,
        }
        if loggregator is not None:
            endpoints["loggregator"] = str(loggregator)
        if identity is not None:
            endpoints["tls"] = {
                "ca": str(identity.ca_file),
                "cert": str(identity.cert_file),
                "key": str(identity.key_file),
            }
        yield endpoints
