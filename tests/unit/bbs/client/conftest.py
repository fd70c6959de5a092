"""A server that answers by script, byte by byte, over a real connection; certificates."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.message import Message

from bbs.client.api import BBSClient
from bbs.client.http import HTTPBBSClient
from bbs.client.identity import IdentityFiles
from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import Policy
from cell.development.certs import Authority

Kind = type[HTTPBBSClient] | type[OneShotBBSClient]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Reply:
    """Bytes to send; then the connection is kept, closed, or left hanging without a word."""

    data: bytes = b""
    then: str = "keep"


@dataclass
class ScriptedServer:
    replies: deque[Reply] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _connections: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(
        self,
        message: Message | bytes = b"",
        *,
        status: int = 200,
        media_type: str = "application/x-protobuf",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = message if isinstance(message, bytes) else message.SerializeToString()
        lines = [
            f"HTTP/1.1 {status} X",
            f"Content-Type: {media_type}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.replies.append(Reply("\r\n".join([*lines, "", ""]).encode() + body))

    def not_found(self) -> None:
        self.answer(b"404 page not found\n", status=404, media_type="text/plain; charset=utf-8")

    def hang_up(self) -> None:
        self.replies.append(Reply(then="close"))

    def hang(self) -> None:
        self.replies.append(Reply(then="hang"))

    def stream(self, chunked: bytes, *, then: str) -> None:
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.replies.append(Reply(head.encode() + chunked, then))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, self._connections = self._connections, self._connections + 1
        try:
            while request := await _read_request(reader, connection):
                self.requests.append(request)
                reply = self.replies.popleft()
                writer.write(reply.data)
                await writer.drain()
                if reply.then == "hang":
                    await self._released.wait()
                if reply.then != "keep":
                    return
        finally:
            writer.close()

    def release(self) -> None:
        """End what hangs."""
        self._released.set()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Request(method, path, headers, body, connection)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    scripted.url = f"http://{host}:{port}"
    yield scripted
    scripted.release()
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def pauses() -> list[float]:
    """Seconds the client would have waited."""
    return []


@pytest.fixture
def policy(pauses: list[float]) -> Policy:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return Policy(sleep=sleep, request_timeout_s=5)


@pytest.fixture(params=[HTTPBBSClient, OneShotBBSClient])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Who carries the requests; what a call means does not depend on it."""
    chosen: Kind = request.param
    return chosen


@pytest.fixture
async def client(server: ScriptedServer, policy: Policy, kind: Kind) -> AsyncIterator[BBSClient]:
    async with kind(server.url, policy=policy) as opened:
        yield opened


@dataclass(frozen=True)
class Identities:
    good: IdentityFiles
    client_only: IdentityFiles
    server_only: IdentityFiles
    elsewhere: IdentityFiles
    expired: IdentityFiles
    stranger: IdentityFiles


@pytest.fixture(scope="session")
def identities(
    authority: Authority, tls_identity: IdentityFiles, tmp_path_factory: pytest.TempPathFactory
) -> Identities:
    folder = tmp_path_factory.mktemp("identities")
    return Identities(
        good=tls_identity,
        client_only=authority.issue(folder, "client-only", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        server_only=authority.issue(folder, "server-only", uses=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        elsewhere=authority.issue(
            folder, "elsewhere", names=(x509.IPAddress(ipaddress.ip_address("192.0.2.1")),)
        ),
        expired=authority.issue(folder, "expired", lifetime=timedelta(days=-1)),
        stranger=Authority.create("other").issue(folder / "other", "stranger"),
    )
