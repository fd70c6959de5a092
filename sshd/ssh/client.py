"""The client side of a connection, up to authentication."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from sshd.ssh.endpoints import ClientTransport
from sshd.ssh.library import asyncssh
from sshd.ssh.link import MuxLink
from sshd.ssh.mux import MuxHandler


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials: the key is tried first, then user and password if both are set."""

    user: str = ""
    password: str = ""
    private_key: asyncssh.SSHKey | None = None


class ClientLink(MuxLink, ClientTransport):
    """A connection to a server; made by :func:`connect`."""

    def __init__(
        self,
        options: asyncssh.SSHClientConnectionOptions,
        check_host_key: Callable[[bytes], bool],
        handler: MuxHandler,
    ) -> None:
        self.authenticated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(options, self.authenticated)
        self._check_host_key = check_host_key
        self._mux_handler = handler

    def accepts_host_key(self, key_blob: bytes) -> bool:
        return self._check_host_key(key_blob)

    def packet_processed(self) -> None:
        if self.is_authenticated and self.mux is None and not self.lost():
            self.start_mux(self._mux_handler)


def client_options(credentials: Credentials, version: str) -> asyncssh.SSHClientConnectionOptions:
    """asyncssh's options, without files or agents of this machine."""
    methods = ["publickey"] if credentials.private_key is not None else []
    if credentials.user and credentials.password:
        methods.append("password")
    return asyncssh.SSHClientConnectionOptions(
        client_factory=asyncssh.SSHClient,
        config=None,
        host="container",
        username=credentials.user,
        password=credentials.password or None,
        client_keys=[credentials.private_key] if credentials.private_key is not None else None,
        preferred_auth=methods or ["none"],
        agent_path=None,
        known_hosts=None,
        client_version=version,
        login_timeout=0,
        keepalive_interval=0,
        gss_host=None,
        compression_algs=None,
        server_host_key_algs="default",
    )


async def connect(
    end: socket.socket,
    credentials: Credentials,
    check_host_key: Callable[[bytes], bool],
    handler: MuxHandler,
    *,
    version: str,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> ClientLink:
    """Establish SSH on a connected socket, over TLS if requested, and authenticate.

    Raises ``OSError``, ``asyncssh.Error``.
    """
    loop = asyncio.get_running_loop()
    options = client_options(credentials, version)
    _, link = await loop.create_connection(
        lambda: ClientLink(options, check_host_key, handler),
        sock=end,
        ssl=tls,
        server_hostname=server_name if tls is not None else None,
    )
    try:
        await link.authenticated
    except BaseException:
        link.abort()
        raise
    return link
