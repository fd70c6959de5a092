"""The control plane with identities: nobody without a certificate of the CA gets in, and its parts do."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bbs.client.http import HTTPBBSClient
from bbs.client.tls import TLSConfigurationError
from bbs.client.transport import Policy
from bbs.embedded.listeners import Address
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig, TLSFiles
from bbs.models.errors import BBSError

pytestmark = pytest.mark.unit

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> TLSFiles:
    """A CA and one certificate for everything, by name only: parts reach each other by address."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    now = datetime.now(UTC)

    def certificate(subject: str, public_key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )

    ca = certificate("test CA", ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    names = [x509.DNSName("bbs.service.cf.internal"), x509.IPAddress(ipaddress.ip_address("192.0.2.7"))]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf = (
        certificate("bbs", key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    files = TLSFiles(ca_file=folder / "ca.crt", cert_file=folder / "bbs.crt", key_file=folder / "bbs.key")

    def pem(builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    files.ca_file.write_bytes(pem(ca))
    files.cert_file.write_bytes(pem(leaf))
    files.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


async def test_the_parts_reach_each_other_and_strangers_reach_none(
    tmp_path: Path, identity: TLSFiles
) -> None:
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=identity)
    async with asyncio.timeout(30), ControlPlane(config) as plane, aiohttp.ClientSession() as http:
        assert plane.bbs_url.startswith("https://127.0.0.1:")
        async with http.get(plane.addresses.receptor.url() + "/v1/domains") as answer:
            assert (answer.status, await answer.json()) == (200, [])

        once = Policy(attempts=1)
        async with HTTPBBSClient(plane.bbs_url.replace("https", "http"), policy=once) as stranger:
            with pytest.raises(BBSError):
                await stranger.ping()
        async with HTTPBBSClient(plane.bbs_url, ssl_context=identity.own_client()) as known:
            assert await known.ping()


async def test_an_identity_that_cannot_be_used_is_named(tmp_path: Path, identity: TLSFiles) -> None:
    broken = replace(identity, key_file=tmp_path / "missing.key")
    plane = ControlPlane(PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=broken))

    with pytest.raises(TLSConfigurationError, match=r"missing\.key"):
        await plane.__aenter__()
