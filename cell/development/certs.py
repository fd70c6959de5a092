"""Certificates of a development cell: its own CA, and one identity per party.

Keys are RSA, because the TLS 1.2 suites of a deployment require it. Everything listens on loopback, so every
certificate names it. Files with at least a day left are kept, so that running client programs stay trusted
after a restart of `cell dev`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bbs.client.identity import IdentityFiles
from bbs.client.tls import TLSConfigurationError, own_certificate
from bbs.embedded.store.statefolder import FOLDER_MODE
from cell.development.statefolder import open_private

KEY_BITS: Final = 2048
LIFETIME: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=1)
CLOCK_SKEW: Final = timedelta(minutes=5)

LOOPBACK: Final[tuple[x509.GeneralName, ...]] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
)
BOTH_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

PARTIES: Final = ("control-plane", "rep", "client")


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA in memory."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @classmethod
    def create(cls, name: str) -> Authority:
        """A new, self-signed CA."""
        key = _key()
        subject = _name(name)
        now = datetime.now(UTC)
        certificate = (
            _builder(subject, subject, key, now - CLOCK_SKEW, now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path, left: timedelta = timedelta(0)) -> Authority | None:
        """The CA that :meth:`store` wrote; None without one, or with less time left. Raises OSError."""
        certificate, key = _authority_files(folder)
        if not _lasts(certificate, left):
            return None
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            return None
        return cls(own_certificate(certificate), loaded)

    def store(self, folder: Path) -> None:
        """Write ``ca.crt`` and ``ca.key``, readable by the owner only. Raises OSError."""
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        certificate, key = _authority_files(folder)
        _write(key, _pem(self.key))
        _write(certificate, self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        folder: Path,
        name: str,
        *,
        names: Sequence[x509.GeneralName] = LOOPBACK,
        uses: Sequence[x509.ObjectIdentifier] = BOTH_USES,
        lifetime: timedelta = LIFETIME,
    ) -> IdentityFiles:
        """Write ``NAME.crt`` and ``NAME.key`` next to ``ca.crt``, readable by the owner only.

        names: subject alternative names. lifetime: from now; negative for an expired certificate.
        """
        key = _key()
        now = datetime.now(UTC)
        begin = min(now, now + lifetime) - CLOCK_SKEW
        certificate = (
            _builder(_name(name), self.certificate.subject, key, begin, now + lifetime)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        files = identity_files(folder, name)
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _write(files.ca_file, self.certificate.public_bytes(serialization.Encoding.PEM))
        _write(files.cert_file, certificate.public_bytes(serialization.Encoding.PEM))
        _write(files.key_file, _pem(key))
        return files


def identity_files(folder: Path, name: str) -> IdentityFiles:
    """Paths of the identity ``name``."""
    return IdentityFiles(
        ca_file=folder / "ca.crt", cert_file=folder / f"{name}.crt", key_file=folder / f"{name}.key"
    )


def development_identities(folder: Path) -> dict[str, IdentityFiles]:
    """One identity for each of PARTIES, of one CA; all are recreated if one is missing or expires soon."""
    kept = {party: identity_files(folder, party) for party in PARTIES}
    if all(
        _lasts(files.cert_file) and files.ca_file.exists() and files.key_file.exists()
        for files in kept.values()
    ):
        return kept
    authority = Authority.create("cell dev")
    return {party: authority.issue(folder, party) for party in PARTIES}


def development_instance_authority(folder: Path) -> tuple[Path, Path]:
    """Certificate and key of the CA for instance identities; recreated if missing or about to expire."""
    certificate, key = folder / "instance-ca.crt", folder / "instance-ca.key"
    if not (_lasts(certificate) and key.exists()):
        authority = Authority.create("cell dev instances")
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _write(certificate, authority.certificate.public_bytes(serialization.Encoding.PEM))
        _write(key, _pem(authority.key))
    return certificate, key


def _authority_files(folder: Path) -> tuple[Path, Path]:
    return folder / "ca.crt", folder / "ca.key"


def _lasts(certificate: Path, least: timedelta = RENEW_BEFORE) -> bool:
    try:
        left = own_certificate(certificate).not_valid_after_utc - datetime.now(UTC)
    except TLSConfigurationError:
        return False
    return left > least


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _write(path: Path, pem: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with open_private(fresh, "w") as file:
        file.write(pem.decode("ascii"))
    fresh.replace(path)
