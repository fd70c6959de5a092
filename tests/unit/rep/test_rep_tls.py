"""Mutual TLS on the listeners, and requirements on the admin listener's certificate."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from bbs.client.tls import TLSConfigurationError, client_context, server_context
from bbs.serving import connections
from rep.evacuation import EvacuationFlag
from rep.server import AdminRoutes, listening
from rep.tls import check_admin_certificate
from tests.support.certificates import self_signed
from tests.support.outcomes import idle_courier
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


async def test_only_clients_with_a_certificate_are_answered(tmp_path: Path) -> None:
    own = self_signed(tmp_path, "cell", [LOOPBACK])
    context = server_context(own.ca_file, own.cert_file, own.key_file)
    application = AdminRoutes(EvacuationFlag(), idle_courier()).application()
    trusted = client_context(own.ca_file, own.cert_file, own.key_file)
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
    own = self_signed(tmp_path, "cell", [LOOPBACK])
    server = server_context(own.ca_file, own.cert_file, own.key_file) if with_tls else None
    client = client_context(own.ca_file, own.cert_file, own.key_file) if with_tls else None
    async with (
        listening(
            AdminRoutes(EvacuationFlag(), idle_courier()).application(), "127.0.0.1:0", server
        ) as address,
        asyncio.timeout(PATIENCE_S),
    ):
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=client)
        writer.write(b"GET /ping HTTP/1.1\r\nHost:")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


def test_the_admin_certificate_names_the_loopback_address(tmp_path: Path) -> None:
    check_admin_certificate(self_signed(tmp_path, "cell", [x509.DNSName("cell"), LOOPBACK]).cert_file)


@pytest.mark.parametrize("names", [[], [x509.DNSName("localhost")], [x509.DNSName("127.0.0.1")]])
def test_other_names_do_not_do(tmp_path: Path, names: list[x509.GeneralName]) -> None:
    with pytest.raises(TLSConfigurationError, match=r"no IP subject alternative name 127\.0\.0\.1"):
        check_admin_certificate(self_signed(tmp_path, "cell", names).cert_file)
