"""A server that answers by script, byte by byte, over a real connection; certificates."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf.message import Message

from bbs.client.api import BBSClient
from bbs.client.http import HTTPBBSClient
from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import Policy

Kind = type[HTTPBBSClient] | type[OneShotBBSClient]

DAY = timedelta(days=1)
BOTH_USES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


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
class Identity:
    ca: Path
    cert: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1 into a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = rsa.generate_private_key(65537, 2048)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .public_key(self._key.public_key())
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.crt"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        lifetime: timedelta = DAY,
        uses: tuple[x509.ObjectIdentifier, ...] = BOTH_USES,
        address: str = "127.0.0.1",
    ) -> Identity:
        key = rsa.generate_private_key(65537, 2048)
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), lifetime)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
            )
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .public_key(key.public_key())
            .sign(self._key, hashes.SHA256())
        )
        cert_file, key_file = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Identity(self.file, cert_file, key_file)

    def _builder(self, subject: x509.Name, lifetime: timedelta) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - 2 * DAY)
            .not_valid_after(datetime.now(UTC) + lifetime)
        )


@dataclass(frozen=True)
class Identities:
    good: Identity
    client_only: Identity
    server_only: Identity
    elsewhere: Identity
    expired: Identity
    stranger: Identity


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory, "authority")
    return Identities(
        good=authority.issue("good"),
        client_only=authority.issue("client-only", uses=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        server_only=authority.issue("server-only", uses=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        elsewhere=authority.issue("elsewhere", address="192.0.2.1"),
        expired=authority.issue("expired", lifetime=-DAY),
        stranger=Authority(directory, "other").issue("stranger"),
    )
