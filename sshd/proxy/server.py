"""The proxy server: authenticates each client, finds its instance, connects to it and splices both."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bbs.models.actual_lrp import ActualLRP
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError
from common.metrics.instruments import Instruments
from sshd.proxy.applog import AppLog
from sshd.proxy.backend import VERSION, Unreachable, connect_backend
from sshd.proxy.families import CLIENTS, LOGINS, SESSIONS, UNREACHABLE
from sshd.proxy.limits import ConnectionCounts, ConnectionLimits
from sshd.proxy.realms import Denied, Instance, Realm
from sshd.proxy.splice import SplicedConnection
from sshd.proxy.target import NoTarget, Target, choose_target, single_instance
from sshd.records import ERROR, INFO, Records
from sshd.ssh.algorithms import Algorithms
from sshd.ssh.connections import MAX_UNAUTHENTICATED, Connections, affordable
from sshd.ssh.library import asyncssh
from sshd.ssh.server import LOGIN_SECONDS, ServerLink, ServerPolicy

DESCRIPTORS_EACH = 2
"""The connection of the client and that to its instance."""


class Directory(Protocol):
    """The BBS methods that the proxy uses; ``bbs.client.api.BBSClient`` has them."""

    async def actual_lrps(self, *, process_guid: str = "", index: int | None = None) -> list[ActualLRP]: ...

    async def desired_lrp(self, process_guid: str) -> DesiredLRP: ...


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Settings of all connections.

    max_unauthenticated: limit of unauthenticated connections. login_seconds: limit for each authentication.
    backend_tls_required: never connect to an instance's plain address.
    """

    host_key: str
    algorithms: Algorithms
    idle_seconds: float
    connect_to_instance_address: bool
    backend_tls: ssl.SSLContext | None
    backend_tls_required: bool = False
    limits: ConnectionLimits = ConnectionLimits()
    login_seconds: float = LOGIN_SECONDS
    max_unauthenticated: int = MAX_UNAUTHENTICATED


class Proxy:
    """All connections of the proxy."""

    def __init__(
        self,
        settings: ProxySettings,
        realms: Sequence[Realm],
        directory: Directory,
        app_log: AppLog,
        records: Records,
        instruments: Instruments | None = None,
    ) -> None:
        self.instruments = instruments or Instruments()
        self.settings = settings
        self.realms = realms
        self.directory = directory
        self.app_log = app_log
        self.records = records
        self.counts = ConnectionCounts(settings.limits)
        self.splices: set[asyncio.Task[None]] = set()
        self._clients: dict[ServerLink, _Client] = {}
        policy = ServerPolicy(
            version=VERSION,
            host_key=asyncssh.import_private_key(settings.host_key),
            algorithms=settings.algorithms,
            authenticator=self._client,
            ready=self._ready,
            ended=self._ended,
            idle_seconds=settings.idle_seconds,
            login_seconds=settings.login_seconds,
        )
        most = affordable(DESCRIPTORS_EACH)
        total = settings.limits.total
        self._connections = Connections(
            policy, app_log.connections, min(most, total or most), settings.max_unauthenticated
        )

    def report(self) -> None:
        """Set the numbers of connections."""
        self.instruments.set(CLIENTS, len(self._clients))
        self.instruments.set(SESSIONS, len(self.splices))

    async def serve(self, listening: socket.socket) -> None:
        """Accept until cancelled; then close every connection and log the end of every visit."""
        try:
            async with self._connections.accepting(listening):
                await asyncio.get_running_loop().create_future()
        finally:
            if self.splices:
                await asyncio.wait(self.splices)

    def _client(self, link: ServerLink) -> _Client:
        client = self._clients[link] = _Client(self, link)
        return client

    def _ready(self, link: ServerLink) -> None:
        self._clients[link].start_splice()

    def _ended(self, link: ServerLink) -> None:
        client = self._clients.pop(link, None)
        if client is not None:
            client.end()

    async def target(self, instance: Instance) -> Target:
        """The daemon to connect to. Raises :class:`Denied`."""
        try:
            lrps = await self.directory.actual_lrps(process_guid=instance.process_guid, index=instance.index)
            lrp = single_instance(lrps, instance.process_guid, instance.index)
            desired = await self.directory.desired_lrp(instance.process_guid)
            return choose_target(
                lrp,
                desired,
                connect_to_instance_address=self.settings.connect_to_instance_address,
                tls_enabled=self.settings.backend_tls is not None,
            )
        except NoTarget as error:
            raise Denied(str(error)) from error
        except BBSError as error:
            raise Denied(f"BBS: {error}") from error


class _Client:
    """One client: its authentication, then its splice."""

    method = b"password"

    def __init__(self, proxy: Proxy, link: ServerLink) -> None:
        self._proxy = proxy
        self._link = link
        self._instance: Instance | None = None
        self._target: Target | None = None
        self._denial = ""
        self._splice: asyncio.Task[None] | None = None

    # -- authentication -----------------------------------------------------------------------------

    def accepts_none(self, user: str) -> bool:
        return False

    def accepts_key(self, user: str, key_blob: bytes) -> bool:
        return False

    async def accepts_password(self, user: str, password: str) -> bool:
        try:
            instance = await self._allowed(user, password)
            target = await self._proxy.target(instance)
            self._proxy.counts.take(instance)
        except Denied as error:
            self._denial = str(error)
            self._proxy.instruments.count(LOGINS, "refused")
            return False
        self._proxy.instruments.count(LOGINS, "accepted")
        self._instance, self._target = instance, target
        self._proxy.records.write(INFO, "authentication-attempted", user=user, client=self._link.peer)
        return True

    async def _allowed(self, user: str, password: str) -> Instance:
        for realm in self._proxy.realms:
            instance = await realm.instance(user, password)
            if instance is not None:
                return instance
        raise Denied("Invalid credentials")

    def refused(self, user: str, method: str) -> None:
        error = {"none": "ssh: no auth passed yet", "password": self._denial}.get(
            method, f"ssh: method {method} is not offered"
        )
        self._proxy.records.write(
            ERROR, "authentication-failed", error=error, user=user, client=self._link.peer
        )

    # -- the splice ---------------------------------------------------------------------------------

    def start_splice(self) -> None:
        """Start the splice for the authenticated user: all requests now go to the instance."""
        ended = asyncio.Event()
        client_side = SplicedConnection(ended.set, self._link)
        self._link.start_mux(client_side)
        self._splice = self._link.create_task(self._run(client_side, ended))
        self._proxy.splices.add(self._splice)
        self._splice.add_done_callback(self._proxy.splices.discard)

    def end(self) -> None:
        """The client is gone; cancel its work."""
        if self._instance is not None:
            self._proxy.counts.release(self._instance)
            self._instance = None
        if self._splice is not None:
            self._splice.cancel()

    async def _run(self, client_side: SplicedConnection, ended: asyncio.Event) -> None:
        assert self._target is not None
        target = self._target
        instance_side = SplicedConnection(ended.set)
        try:
            backend = await connect_backend(
                target,
                instance_side,
                self._proxy.settings.backend_tls,
                self._proxy.records,
                tls_required=self._proxy.settings.backend_tls_required,
            )
        except Unreachable as error:
            self._proxy.instruments.count(UNREACHABLE)
            self._proxy.records.write(ERROR, "failed-to-reach-instance", error=str(error))
            self._link.hang_up()
            return
        peer = self._link.peer
        try:
            self._proxy.app_log.write_line(target, f"Successful remote access by {peer}")
            backend.set_feeder(self._link)
            self._link.set_feeder(backend)
            instance_side.join(backend, client_side)
            client_side.join(self._link, instance_side)
            await ended.wait()
        finally:
            self._proxy.app_log.write_line(target, f"Remote access ended for {peer}")
            backend.hang_up()
            self._link.hang_up()
