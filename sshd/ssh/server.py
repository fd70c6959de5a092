"""The server's side of a connection up to the authenticated user.

Offers, extension message, attempts and their limit are what the Go library does; asyncssh's own customs (its
marker extensions, the announcement of host keys, SASL preparation of user names) are switched off.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from asyncssh.auth import lookup_server_auth
from asyncssh.connection import SSHServerConnection
from asyncssh.packet import NameList, SSHPacket, String

from sshd.ssh import messages as m
from sshd.ssh.algorithms import STRICT_KEX_SERVER, USER_KEY_SIGNATURES, Algorithms, host_key_signatures
from sshd.ssh.library import asyncssh
from sshd.ssh.link import MuxLink

MAX_REFUSED_ATTEMPTS = 6
"""The attempt that ends the connection; the first ``none`` is not one."""

MAX_USER_NAME = 1024
"""Characters; the platform's names have less than 100."""

_USERAUTH = b"ssh-userauth"
_CONNECTION = b"ssh-connection"


class Authenticator(Protocol):
    """Who may in, for one connection."""

    method: bytes
    """The one method that failures list: ``publickey`` or ``password``."""

    def accepts_none(self, user: str) -> bool: ...

    def accepts_key(self, user: str, key_blob: bytes) -> bool: ...

    async def accepts_password(self, user: str, password: str) -> bool: ...

    def refused(self, user: str, method: str) -> None:
        """An attempt was refused; for the log."""


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """How to serve connections. ``ready`` is called with each authenticated one and has to start its mux."""

    version: str
    host_key: asyncssh.SSHKey
    algorithms: Algorithms
    authenticator: Callable[[ServerLink], Authenticator]
    ready: Callable[[ServerLink], None]
    ended: Callable[[ServerLink], None]
    idle_seconds: float


class ServerLink(MuxLink, SSHServerConnection):
    """One client's connection; made by :func:`server_link`."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, policy: ServerPolicy) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self.idle_seconds = policy.idle_seconds
        self._policy = policy
        self._authenticator = policy.authenticator(self)
        self._refused = 0
        self._asked = False
        self._method = ""
        offered = policy.algorithms
        self._kex_algs = list(offered.key_exchanges)
        self._enc_algs = list(offered.ciphers)
        self._mac_algs = list(offered.macs)
        self._cmp_algs = [b"none"]
        signatures = host_key_signatures(policy.host_key.algorithm, offered)
        self._server_host_key_algs = list(signatures)
        self._host_key_pairs = OrderedDict((name, self._server_host_keys[name]) for name in signatures)

    @property
    def peer(self) -> str:
        """``address:port`` of the client."""
        host = f"[{self._peer_addr}]" if ":" in self._peer_addr else self._peer_addr
        return f"{host}:{self._peer_port}"

    # -- key exchange -------------------------------------------------------------------------------

    def _get_extra_kex_algs(self) -> list[bytes]:
        return [STRICT_KEX_SERVER]

    def choose_server_host_key(self, peer_host_key_algs: object) -> bool:
        self._server_host_keys = self._host_key_pairs
        return super().choose_server_host_key(peer_host_key_algs)  # type: ignore[arg-type]

    def _send_ext_info(self) -> None:
        self._extensions_to_send.clear()
        self._extensions_to_send[b"server-sig-algs"] = b",".join(USER_KEY_SIGNATURES)
        self._extensions_to_send[b"ping@openssh.com"] = b"0"
        super()._send_ext_info()

    def send_server_host_keys(self) -> None:
        """Not announced."""

    # -- authentication -----------------------------------------------------------------------------

    def _service_requested(self, packet: SSHPacket) -> None:
        service = packet.get_string()
        if service != _USERAUTH or not self._recv_encryption:
            raise asyncssh.ServiceNotAvailable("Unexpected service in service request")
        self._next_service = None
        self.send_packet(m.SERVICE_ACCEPT, String(service))
        self._auth_in_progress = True
        self._can_recv_ext_info = False
        self._send_deferred_packets()

    async def _attempt(self, user: str, method: bytes, packet: SSHPacket) -> None:
        self._method = method.decode("utf-8", "replace")
        if method == b"none" and self._authenticator.accepts_none(user):
            await self.send_userauth_success()
        else:
            self._auth = lookup_server_auth(self, user, method, packet)

    def _user_requested(self, packet: SSHPacket) -> Awaitable[None] | None:
        user = packet.get_string().decode("utf-8", "surrogateescape")
        service = packet.get_string()
        method = packet.get_string()
        if service != _CONNECTION:
            raise asyncssh.ServiceNotAvailable("Unexpected service in auth request")
        if self._auth_complete or not self._auth_in_progress or self.lost():
            return None
        if len(user) > MAX_USER_NAME:
            raise asyncssh.IllegalUserName("Username too long")
        if self._auth is not None:  # the one before has no answer yet, and gets none: it counts all the same
            self._auth.cancel()
            self._auth = None
            if self._one_too_many():
                return None
        self._username = user
        return self._attempt(user, method, packet)

    def send_userauth_failure(self, partial_success: bool) -> None:
        self._auth = None
        self._authenticator.refused(self._username, self._method)
        if not self._one_too_many():
            self.send_packet(m.USERAUTH_FAILURE, NameList([self._authenticator.method]), b"\0")

    def _one_too_many(self) -> bool:
        """Count a refused attempt; whether the connection has ended for it."""
        if self._method == "none" and not self._asked:
            self._asked = True  # with which methods there are, as every client does first
            return False
        self._refused += 1
        if self._refused < MAX_REFUSED_ATTEMPTS:
            return False
        self._send_disconnect(m.DISCONNECT_PROTOCOL_ERROR, "too many authentication failures", "")
        self._force_close(None)
        return True

    def public_key_auth_supported(self) -> bool:
        return self._authenticator.method == b"publickey"

    def password_auth_supported(self) -> bool:
        return self._authenticator.method == b"password"

    def kbdint_auth_supported(self) -> bool:
        return False

    def host_based_auth_supported(self) -> bool:
        return False

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        if not self._authenticator.accepts_key(username, key_data):
            return False
        if not msg:
            return True
        key = asyncssh.public_key.decode_ssh_public_key(key_data)
        return key.verify(String(self._session_id) + msg, signature)

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._authenticator.accepts_password(username, password)

    async def send_userauth_success(self) -> None:
        await super().send_userauth_success()
        self._policy.ready(self)

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        self._policy.ended(self)

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        if pkttype == m.SERVICE_REQUEST:
            self._service_requested(packet)
            return True
        if pkttype == m.USERAUTH_REQUEST:
            return self._user_requested(packet) or True
        return super().process_packet(pkttype, pktid, packet)


def server_options(policy: ServerPolicy) -> asyncssh.SSHServerConnectionOptions:
    """asyncssh's options, made once for all connections: no configuration files, no time limit of its own."""
    return asyncssh.SSHServerConnectionOptions(
        server_factory=asyncssh.SSHServer,
        server_host_keys=[policy.host_key],
        server_version=policy.version,
        login_timeout=0,
        keepalive_interval=0,
        tcp_keepalive=True,
        gss_host=None,
    )
