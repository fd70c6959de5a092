"""Certificates for tests: identities on loopback with few keys, and self-signed certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from bbs.client.identity import IdentityFiles
from cell.development import certs
from cell.development.certs import Authority

KEYS: Final = 6
"""How many RSA keys a test process makes for all certificates but the shared ones, which have their own."""

HOUR: Final = timedelta(hours=1)

_numbers = cycle(range(KEYS))


@cache
def _key_of(holder: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def rsa_key() -> rsa.RSAPrivateKey:
    """The next key, another than the five before it. A new one takes a tenth of a second of a processor."""
    return _key_of(f"number {next(_numbers)}")


@contextmanager
def _keys(make: Callable[[], rsa.RSAPrivateKey]) -> Iterator[None]:
    """Authorities of development cells take their keys from here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certs, "_key", make)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_rsa_keys() -> Iterator[None]:
    with _keys(rsa_key):
        yield


@pytest.fixture(scope="session")
def authority(few_rsa_keys: None) -> Authority:
    """The authority that all parts of a test trust."""
    with _keys(lambda: _key_of("authority")):
        return Authority.create("tests")


@pytest.fixture(scope="session")
def tls_identity(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> IdentityFiles:
    """A certificate of that authority for servers and clients on loopback."""
    with _keys(lambda: _key_of("loopback")):
        return authority.issue(tmp_path_factory.mktemp("tls"), "loopback")


def self_signed(folder: Path, name: str, names: Sequence[x509.GeneralName] = ()) -> IdentityFiles:
    """``NAME.crt`` and ``NAME.key``: a certificate that is its own CA, its key in the traditional form."""
    key = rsa_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now - HOUR, now + HOUR
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = folder / f"{name}.crt"
    files = IdentityFiles(ca_file=certificate, cert_file=certificate, key_file=folder / f"{name}.key")
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return files
