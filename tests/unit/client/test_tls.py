"""TLS contexts: who may talk to whom, and how."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bbs.client.tls import TLSConfigurationError, client_context, own_certificate, server_context

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
BOTH_USES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


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


@pytest.fixture(scope="module")
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


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, str]:
    """Protocol and cipher suite agreed on; raises what the refusing side finds wrong."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    unfinished = [client_side, server.wrap_bio(to_server, to_client, server_side=True)]
    while unfinished:
        side = unfinished.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            unfinished.append(side)
    agreed = client_side.cipher()
    assert agreed is not None
    cipher, protocol, _ = agreed
    return protocol, cipher


def client_of(identity: Identity, ca: Path | None = None) -> ssl.SSLContext:
    return client_context(ca or identity.ca, identity.cert, identity.key)


def server_of(identity: Identity, ca: Path | None = None) -> ssl.SSLContext:
    return server_context(ca or identity.ca, identity.cert, identity.key)


def test_both_sides_know_each_other(identities: Identities) -> None:
    protocol, _ = handshake(client_of(identities.good), server_of(identities.good))
    assert protocol == "TLSv1.3"


def test_suites_of_tls_1_2(identities: Identities) -> None:
    client = client_of(identities.good)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    protocol, cipher = handshake(client, server_of(identities.good))
    assert protocol == "TLSv1.2"
    assert cipher in ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256")
    client.set_ciphers("ECDHE-RSA-CHACHA20-POLY1305")
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        handshake(client, server_of(identities.good))


@pytest.mark.parametrize("name", ["stranger", "server_only"])
def test_a_server_refuses_this_client(identities: Identities, name: str) -> None:
    client = client_of(getattr(identities, name), ca=identities.good.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server_of(identities.good))


def test_a_server_refuses_a_client_without_certificate(identities: Identities) -> None:
    client = ssl.create_default_context(cafile=identities.good.ca)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(client, server_of(identities.good))


@pytest.mark.parametrize("name", ["stranger", "client_only", "elsewhere"])
def test_a_client_refuses_this_server(identities: Identities, name: str) -> None:
    server = server_of(getattr(identities, name), ca=identities.good.ca)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_of(identities.good), server)


def test_an_expired_certificate_is_not_loaded(identities: Identities) -> None:
    with pytest.raises(TLSConfigurationError, match=r"expired\.crt expired at"):
        server_of(identities.expired)


def test_own_certificate_is_the_first_in_the_file(identities: Identities, tmp_path: Path) -> None:
    chain = tmp_path / "chain.crt"
    chain.write_bytes(identities.good.cert.read_bytes() + identities.good.ca.read_bytes())
    assert own_certificate(chain).subject.rfc4514_string() == "CN=good"


def test_files_that_do_not_fit(identities: Identities, tmp_path: Path) -> None:
    good, missing, empty = identities.good, tmp_path / "missing", tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(TLSConfigurationError, match=r"cannot read certificate .*missing"):
        client_context(good.ca, missing, good.key)
    with pytest.raises(TLSConfigurationError, match=r"cannot read certificate .*empty"):
        client_context(good.ca, empty, good.key)
    with pytest.raises(TLSConfigurationError, match=r"cannot read CA certificates .*empty"):
        client_context(empty, good.cert, good.key)
    with pytest.raises(
        TLSConfigurationError, match=r"cannot use certificate .*good\.crt with key .*stranger\.key"
    ):
        client_context(good.ca, good.cert, identities.stranger.key)
