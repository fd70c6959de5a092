"""A whole control plane in one process: BBS, Locket, auctioneer, Receptor API and file server.

The parts talk over HTTP as in a deployment, with one exception: the BBS passes start requests to the
auctioneer directly. All addresses are bound before anything starts, so an address in use is reported at once
and every part has the ports of the others. The parts stop in the reverse order of their start.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import CHECK_INTERVAL_S, Identity, IdentityFiles
from bbs.embedded.auctioneer.runner import AuctionRunner
from bbs.embedded.auctioneer.server import auctioneer_app
from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.calls.reps import RepClient
from bbs.embedded.files.server import fileserver_app
from bbs.embedded.files.uploads import POLLING_INTERVAL_S
from bbs.embedded.locket.server import locket_credentials
from bbs.embedded.receptor.app import receptor_app
from bbs.embedded.service import BBS, CONVERGENCE_INTERVAL_S, run_bbs
from bbs.embedded.store.database import StoreError
from bbs.embedded.store.statefolder import private_folder
from bbs.serving.access import AccessRule
from bbs.serving.address import Address, ListenError, listening
from bbs.serving.listener import serving
from common.tasks import running

logger = logging.getLogger(__name__)

OWN_LOCKS = ("auctioneer", "bbs")
"""Lock keys of the active auctioneer and BBS of a deployment, as `cfdot locks` shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Listen addresses of the parts."""

    bbs: Address = Address("127.0.0.1", 8889)
    locket: Address = Address("127.0.0.1", 8891)
    auctioneer: Address = Address("127.0.0.1", 9016)
    receptor: Address = Address("127.0.0.1", 8888)
    fileserver: Address = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneConfig:
    """Configuration of a control plane.

    state_dir: folder of the state file and of the file server (``static``), created if missing, accessible to
    its owner only.
    tls: identity of BBS, Locket and auctioneer, also used for their calls to reps. Clients need a certificate
    of the same CA. None uses plain HTTP and gRPC everywhere. Receptor and file server are always plain.
    identity_check_interval_s: interval between checks for renewed identity files.
    explain_placement: placement errors and rejection reasons also list why each cell refused the work.
    upload_polling_interval_s: interval between polls of an upload job.
    allowed_hosts: lower-case host names by which clients may call the plain listeners, in addition to
    addresses and ``localhost``.
    upload_hosts: ``host:port`` of the file server as cells call it, in addition to its own address.
    cell_addresses: listeners of this machine's cells; like the plane's own, they are closed to callbacks.
    """

    state_dir: Path
    addresses: Addresses = field(default_factory=Addresses)
    tls: IdentityFiles | None = None
    identity_check_interval_s: float = CHECK_INTERVAL_S
    convergence_interval_s: float = CONVERGENCE_INTERVAL_S
    upload_polling_interval_s: float = POLLING_INTERVAL_S
    explain_placement: bool = False
    allowed_hosts: Sequence[str] = ()
    upload_hosts: Sequence[str] = ()
    cell_addresses: Sequence[Address] = ()


class ControlPlane:
    """A control plane; it runs while its context lasts.

    Entering raises ListenError for an address that cannot be bound, ``store.StoreError`` for an unusable
    state file and ``tls.TLSConfigurationError`` for an unusable identity.
    """

    def __init__(self, config: PlaneConfig) -> None:
        self.config = config
        self._stack = AsyncExitStack()
        self._addresses = config.addresses
        self._bbs: BBS | None = None

    @property
    def addresses(self) -> Addresses:
        """Listen addresses of the parts, with the bound ports once the context is entered."""
        return self._addresses

    @property
    def bbs_url(self) -> str:
        """Base URL of the BBS for clients on this machine."""
        return self._addresses.bbs.url(tls=self.config.tls is not None)

    @property
    def bbs(self) -> BBS:
        """The running BBS, for access to its hub and controllers."""
        if self._bbs is None:
            raise RuntimeError("the control plane is not running")
        return self._bbs

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            await self._start(self._stack)
        except BaseException:
            await self._stack.aclose()
            raise
        data = {name: str(getattr(self._addresses, name)) for name in Addresses.__slots__}
        logger.info("control-plane.started", extra={"data": data})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The stack gets no exception, which it would group: the parts stop the same way for every error.
        self._bbs = None
        await self._stack.aclose()
        logger.info("control-plane.stopped")

    async def _start(self, stack: AsyncExitStack) -> None:
        config, requested = self.config, self.config.addresses
        try:
            private_folder(config.state_dir)
        except OSError as error:
            raise StoreError(f"cannot use the state folder {config.state_dir}: {error.strerror}") from error
        identity = Identity(config.tls) if config.tls else None
        if identity is not None:
            await stack.enter_async_context(identity.watched(interval_s=config.identity_check_interval_s))
        server_tls = identity.server_context() if identity else None
        access = AccessRule(hosts=config.allowed_hosts)

        api_socket = stack.enter_context(listening(requested.bbs, "the BBS API"))
        auctioneer_socket = stack.enter_context(listening(requested.auctioneer, "the auctioneer"))
        receptor_socket = stack.enter_context(listening(requested.receptor, "the Receptor API"))
        fileserver_socket = stack.enter_context(listening(requested.fileserver, "the file server"))
        self._addresses = Addresses(
            bbs=_bound(requested.bbs, api_socket),
            locket=requested.locket,
            auctioneer=_bound(requested.auctioneer, auctioneer_socket),
            receptor=_bound(requested.receptor, receptor_socket),
            fileserver=_bound(requested.fileserver, fileserver_socket),
        )

        reps = await stack.enter_async_context(RepClient(identity.client_context() if identity else None))
        callbacks = await stack.enter_async_context(HTTPCallbacks(destinations=self._destinations()))
        # The certificate need not name this listener's address, so the host name is not checked.
        own_tls = identity.client_context(check_hostname=False) if identity else None
        client = await stack.enter_async_context(HTTPBBSClient(self.bbs_url, ssl_context=own_tls))
        runner = AuctionRunner(client, reps, explain=config.explain_placement)
        bbs = await stack.enter_async_context(
            run_bbs(
                config.state_dir,
                auctioneer=runner,
                reps=reps,
                callbacks=callbacks,
                convergence_interval_s=config.convergence_interval_s,
                held_locks=OWN_LOCKS,
            )
        )
        bbs.app.on_shutdown.append(_end_streams(bbs))
        await stack.enter_async_context(serving(bbs.app, api_socket, server_tls, access=access))
        await stack.enter_async_context(self._locket(bbs, identity))
        await stack.enter_async_context(running(runner.run(), "auctioneer"))
        await stack.enter_async_context(
            serving(auctioneer_app(runner), auctioneer_socket, server_tls, access=access)
        )
        await stack.enter_async_context(
            serving(receptor_app(client), receptor_socket, cancel_on_disconnect=True, access=access)
        )
        fileserver = fileserver_app(
            config.state_dir / "static",
            polling_interval_s=config.upload_polling_interval_s,
            upload_hosts=config.upload_hosts,
        )
        await stack.enter_async_context(
            serving(fileserver, fileserver_socket, cancel_on_disconnect=True, access=access)
        )
        self._bbs = bbs

    def _destinations(self) -> Destinations:
        own = self._addresses
        return Destinations(
            closed=(
                *(own.bbs, own.auctioneer, own.receptor, own.fileserver, own.locket),
                *self.config.cell_addresses,
            )
        )

    @asynccontextmanager
    async def _locket(self, bbs: BBS, identity: Identity | None) -> AsyncIterator[None]:
        address = self._addresses.locket
        credentials = locket_credentials(identity.files) if identity else None
        # gRPC's bind errors are unclear. This bind reports the address in use.
        if address.port:
            with listening(address, "Locket"):
                pass
        async with AsyncExitStack() as stack:
            try:
                port = await stack.enter_async_context(bbs.locket_server(str(address), credentials))
            except RuntimeError as error:
                raise ListenError(f"cannot listen on {address} for Locket: {error}") from error
            self._addresses = replace(self._addresses, locket=Address(address.host, port))
            yield


def _bound(requested: Address, bound: socket.socket) -> Address:
    return Address(requested.host, bound.getsockname()[1])


def _end_streams(bbs: BBS) -> Callable[[web.Application], Awaitable[None]]:
    async def end(_: web.Application) -> None:
        bbs.hub.close()

    return end
