"""Mutual TLS on the listeners, and what the admin listener wants of its certificate."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from bbs.client.tls import TLSConfigurationError, client_context, server_context
from bbs.serving import connections
from rep.evacuation import EvacuationFlag
from rep.server import AdminRoutes, listening
from rep.tls import check_admin_certificate

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate, which is its own CA."""

    cert: Path
    key: Path


def identity(folder: Path, *names: x509.GeneralName) -> Identity:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cell")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = Identity(folder / "cell.crt", folder / "cell.key")
    certificate = builder.sign(key, hashes.SHA256())
    made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return made


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


async def test_only_clients_with_a_certificate_are_answered(tmp_path: Path) -> None:
    own = identity(tmp_path, LOOPBACK)
    context = server_context(own.cert, own.cert, own.key)
    application = AdminRoutes(EvacuationFlag()).application()
    trusted = client_context(own.cert, own.cert, own.key)
    async with (
        listening(application, "127.0.0.1:0", context) as address,
        aiohttp.ClientSession() as session,
    ):
        url = f"https://{address.host}:{address.port}/ping"
        async with session.get(url, ssl=trusted) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await session.get(url, ssl=False)
        with pytest.raises(aiohttp.ClientError):
            await session.get(url.replace("https", "http"))


@pytest.mark.parametrize("with_tls", [False, True])
async def test_who_is_slow_with_a_request_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tls: bool
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    own = identity(tmp_path, LOOPBACK)
    server = server_context(own.cert, own.cert, own.key) if with_tls else None
    client = client_context(own.cert, own.cert, own.key) if with_tls else None
    async with (
        listening(AdminRoutes(EvacuationFlag()).application(), "127.0.0.1:0", server) as address,
        asyncio.timeout(10),
    ):
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=client)
        writer.write(b"GET /ping HTTP/1.1\r\nHost:")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


def test_the_admin_certificate_names_the_loopback_address(tmp_path: Path) -> None:
    check_admin_certificate(identity(tmp_path, x509.DNSName("cell"), LOOPBACK).cert)


@pytest.mark.parametrize("names", [[], [x509.DNSName("localhost")], [x509.DNSName("127.0.0.1")]])
def test_other_names_do_not_do(tmp_path: Path, names: list[x509.GeneralName]) -> None:
    with pytest.raises(TLSConfigurationError, match=r"no IP subject alternative name 127\.0\.0\.1"):
        check_admin_certificate(identity(tmp_path, *names).cert)
