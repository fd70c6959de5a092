"""Renewed identity files: new connections use them, existing ones continue."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bbs.client.identity import Identity, IdentityFiles
from bbs.client.tls import TLSConfigurationError, client_context
from cell.development.certs import Authority, development_identities, identity_files
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Pki:
    """Two generations of certificates: the second one's CA is another one."""

    first: IdentityFiles
    second: IdentityFiles


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    return Pki(
        Authority.create("first").issue(folder / "first", "cell"),
        Authority.create("second").issue(folder / "second", "cell"),
    )


@pytest.fixture
def used(pki: Pki, tmp_path: Path) -> IdentityFiles:
    """The configured files, with the first generation of certificates."""
    files = identity_files(tmp_path, "used")
    replace(files, pki.first)
    return files


def replace(files: IdentityFiles, by: IdentityFiles, *names: str) -> None:
    for name in names or ("ca_file", "cert_file", "key_file"):
        shutil.copyfile(getattr(by, name), getattr(files, name))


class Connection:
    """A connection on which every line comes back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def works(self) -> bool:
        self._writer.write(b"hello\n")
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readline() == b"hello\n"


@asynccontextmanager
async def echo(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(port: int, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


def client_of(files: IdentityFiles) -> ssl.SSLContext:
    return client_context(files.ca_file, files.cert_file, files.key_file)


async def refused(port: int, context: ssl.SSLContext) -> bool:
    """A TLS 1.3 client gets the server's refusal with its first read."""
    try:
        async with connected(port, context) as connection:
            return not await connection.works()
    except (ssl.SSLError, ConnectionError):
        return True


async def test_a_renewed_server_keeps_its_connections_and_checks_new_ones_anew(
    pki: Pki, used: IdentityFiles
) -> None:
    identity = Identity(used)
    async with echo(identity.server_context()) as port, connected(port, client_of(pki.first)) as old:
        assert await old.works()
        assert await refused(port, client_of(pki.second))

        replace(used, pki.second)
        assert identity.renew()

        assert await old.works()
        async with connected(port, client_of(pki.second)) as new:
            assert await new.works()
        assert await refused(port, client_of(pki.first))


async def test_a_renewed_client_shows_its_new_certificate(pki: Pki, used: IdentityFiles) -> None:
    identity = Identity(used)
    context = identity.client_context()
    async with (
        echo(Identity(pki.first).server_context()) as port,
        echo(Identity(pki.second).server_context()) as later_port,
        connected(port, context) as old,
    ):
        assert await refused(later_port, context)
        replace(used, pki.second)
        assert identity.renew()
        assert await old.works()
        async with connected(later_port, context) as new:
            assert await new.works()


async def test_half_a_renewal_is_passed_over_until_the_other_half_is_there(
    pki: Pki, used: IdentityFiles, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(used)
    async with echo(identity.server_context()) as port:
        replace(used, pki.second, "cert_file")
        assert not identity.renew()
        assert not identity.renew()
        async with connected(port, client_of(pki.first)) as connection:
            assert await connection.works()
        assert [record.message for record in caplog.records] == ["tls-identity.not-renewed"]

        replace(used, pki.second)
        assert identity.renew()
        async with connected(port, client_of(pki.second)) as connection:
            assert await connection.works()


async def test_a_removed_file_changes_nothing(pki: Pki, used: IdentityFiles) -> None:
    identity = Identity(used)
    async with echo(identity.server_context()) as port:
        used.key_file.unlink()
        assert not identity.renew()
        async with connected(port, client_of(pki.first)) as connection:
            assert await connection.works()


async def test_whoever_follows_hears_of_each_renewal(pki: Pki, used: IdentityFiles) -> None:
    heard = asyncio.Event()

    async def renewed() -> None:
        heard.set()

    identity = Identity(used)
    async with asyncio.timeout(PATIENCE_S), identity.watched(renewed, interval_s=0.01):
        replace(used, pki.second)
        await heard.wait()


def test_files_that_cannot_be_used_are_named(used: IdentityFiles) -> None:
    used.key_file.write_text("not a key")
    with pytest.raises(TLSConfigurationError, match=r"used\.key"):
        Identity(used)


def test_development_certificates_are_kept_while_they_are_good(tmp_path: Path) -> None:
    made = development_identities(tmp_path)
    kept = made["rep"].cert_file.read_bytes()
    assert development_identities(tmp_path)["rep"].cert_file.read_bytes() == kept
    made["client"].key_file.unlink()
    assert development_identities(tmp_path)["rep"].cert_file.read_bytes() != kept
    assert made["rep"].key_file.stat().st_mode & 0o777 == 0o600
