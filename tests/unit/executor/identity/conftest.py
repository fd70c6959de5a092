"""A certificate authority for tests, and containers with identities."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bbs.models.common import CertificateProperties
from executor.identity.authority import Authority, utc_now
from executor.model import Container, RunInfo
from tests.support.paths import GOLDEN_FILES


@pytest.fixture(scope="session")
def ca_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Paths of certificate and key of an authority called instanceIdentityCA."""
    folder = tmp_path_factory.mktemp("ca")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "instanceIdentityCA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(1)
        .public_key(key.public_key())
        .not_valid_before(utc_now())
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "ca.crt"), str(folder / "ca.key")


@pytest.fixture
def authority(ca_files: tuple[str, str]) -> Authority:
    return Authority.load(*ca_files)


@pytest.fixture
def instance() -> Callable[..., Container]:
    """A created container; ``units`` and ``routes`` go where they belong."""

    def make(*, units: tuple[str, ...] = (), routes: tuple[str, ...] = (), **changes: Any) -> Container:
        info = RunInfo(
            certificate_properties=CertificateProperties(organizational_unit=units), internal_routes=routes
        )
        values = {"guid": "ig", "internal_ip": "10.254.0.2", "external_ip": "192.0.2.9"}
        return Container(run_info=info, **{**values, **changes})

    return make


def _golden(name: str) -> Path:
    return GOLDEN_FILES / "wire" / "container" / name


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """Path of a recording by file name."""
    return _golden
