"""The server side of a connection, up to authentication.

Offers, extension message, attempts and their limit match Go's library. asyncssh's own features (marker
extensions, host key announcement, SASL preparation of user names) are disabled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from asyncssh.packet import SSHPacket

from sshd.ssh.algorithms import STRICT_KEX_SERVER, USER_KEY_SIGNATURES, Algorithms, host_key_signatures
from sshd.ssh.endpoints import Offer, ServerTransport
from sshd.ssh.library import asyncssh
from sshd.ssh.link import MuxLink

MAX_REFUSED_ATTEMPTS = 6
"""The refused attempt that ends the connection; the first ``none`` does not count."""

MAX_SERVICE_REQUESTS = 2
"""Clients send one request. A second one is answered; more end the connection."""

MAX_USER_NAME = 1024
"""Limit in characters; the platform's names have fewer than 100."""

LOGIN_SECONDS = 120.0
"""Limit of the authentication; the default of OpenSSH's ``LoginGraceTime``."""

_USERAUTH = b"ssh-userauth"
_CONNECTION = b"ssh-connection"


class Authenticator(Protocol):
    """Access decisions for one connection."""

    method: bytes
    """The method listed in failures: ``publickey`` or ``password``."""

    def accepts_none(self, user: str) -> bool: ...

    def accepts_key(self, user: str, key_blob: bytes) -> bool: ...

    async def accepts_password(self, user: str, password: str) -> bool: ...

    def refused(self, user: str, method: str) -> None:
        """Called for each refused attempt; for the log."""


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """Settings of served connections. ``ready`` is called with each authenticated one and must start its mux.

    login_seconds: limit of the authentication (0: no limit).
    """

    version: str
    host_key: asyncssh.SSHKey
    algorithms: Algorithms
    authenticator: Callable[[ServerLink], Authenticator]
    ready: Callable[[ServerLink], None]
    ended: Callable[[ServerLink], None]
    idle_seconds: float
    login_seconds: float = LOGIN_SECONDS


class ServerLink(MuxLink, ServerTransport):
    """One client's connection."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, policy: ServerPolicy) -> None:
        super().__init__(options, _offer(policy))
        self.idle_seconds = policy.idle_seconds
        self._policy = policy
        self._authenticator = policy.authenticator(self)
        self._refused = 0
        self._asked = False
        self._method = ""
        self._service_requests = 0

    # -- authentication -----------------------------------------------------------------------------

    def service_requested(self, service: bytes) -> None:
        if service != _USERAUTH or not self.is_encrypted:
            raise asyncssh.ServiceNotAvailable("Unexpected service in service request")
        self._service_requests += 1
        if self._service_requests > MAX_SERVICE_REQUESTS:
            raise asyncssh.ProtocolError("too many service requests")
        self.accept_service(service)

    def authentication_requested(
        self, user: bytes, service: bytes, method: bytes, packet: SSHPacket
    ) -> Awaitable[None] | None:
        if service != _CONNECTION:
            raise asyncssh.ServiceNotAvailable("Unexpected service in auth request")
        if not self.takes_attempts:
            return None
        name = user.decode("utf-8", "surrogateescape")
        if len(name) > MAX_USER_NAME:
            raise asyncssh.IllegalUserName("Username too long")
        # An unanswered attempt gets no answer, but counts.
        if self.abandon_attempt() and self._one_too_many():
            return None
        self.begin_attempt(name)
        return self._attempt(method, packet)

    async def _attempt(self, method: bytes, packet: SSHPacket) -> None:
        self._method = method.decode("utf-8", "replace")
        if method == b"none" and self._authenticator.accepts_none(self.user):
            await self.send_userauth_success()
        else:
            self.attempt(method, packet)

    def send_userauth_failure(self, partial_success: bool) -> None:
        self.forget_attempt()
        self._authenticator.refused(self.user, self._method)
        if not self._one_too_many():
            self.refuse_attempt([self._authenticator.method])

    def _one_too_many(self) -> bool:
        """Count a refused attempt; True if the limit has ended the connection."""
        if self._method == "none" and not self._asked:
            self._asked = True  # clients first ask which methods are available
            return False
        self._refused += 1
        if self._refused < MAX_REFUSED_ATTEMPTS:
            return False
        self.disconnect_for("too many authentication failures")
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
        return not msg or self.is_signed(key_data, msg, signature)

    async def validate_password(self, username: str, password: str) -> bool:
        return await self._authenticator.accepts_password(username, password)

    async def send_userauth_success(self) -> None:
        await super().send_userauth_success()
        self._policy.ready(self)

    def ended(self, error: Exception | None) -> None:
        super().ended(error)
        self._policy.ended(self)


def _offer(policy: ServerPolicy) -> Offer:
    offered = policy.algorithms
    return Offer(
        key_exchanges=offered.key_exchanges,
        ciphers=offered.ciphers,
        macs=offered.macs,
        host_key_signatures=host_key_signatures(policy.host_key.algorithm, offered),
        markers=(STRICT_KEX_SERVER,),
        extensions={b"server-sig-algs": b",".join(USER_KEY_SIGNATURES), b"ping@openssh.com": b"0"},
    )


def server_options(policy: ServerPolicy) -> asyncssh.SSHServerConnectionOptions:
    """asyncssh's options, shared by all connections; without configuration files."""
    return asyncssh.SSHServerConnectionOptions(
        server_factory=asyncssh.SSHServer,
        server_host_keys=[policy.host_key],
        server_version=policy.version,
        login_timeout=policy.login_seconds,
        keepalive_interval=0,
        tcp_keepalive=True,
        gss_host=None,
    )
