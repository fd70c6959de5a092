"""The cell's certificate authority for instances."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from executor.errors import ExecutorError
from executor.identity.keys import PrivateKey
from executor.identity.profile import CertificateProfile

COMMON_NAME_LIMIT = 64
"""Maximum length of an X.509 common name (RFC 5280); the alternative name has the whole guid."""


class IdentityError(ExecutorError):
    """Instance credentials cannot be created; the text names the file or instance, and the reason."""

    text = "instance identity error"


class Authority:
    """Signs certificates of instances. Immutable and thread-safe."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self._pem = certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def load(cls, certificate_path: str, key_path: str) -> Authority:
        """Read CA certificate (the first one in the file) and private key, both PEM. Raises IdentityError."""
        certificate = _certificate(certificate_path)
        key = _key(key_path)
        if key.public_key() != certificate.public_key():
            raise IdentityError(f"{key_path} is not the private key of {certificate_path}")
        return cls(certificate, key)

    def issue(
        self, profile: CertificateProfile, key: PrivateKey, *, now: datetime, validity: timedelta
    ) -> bytes:
        """The new certificate and the CA's, PEM. Raises IdentityError for names that are invalid in a
        certificate.
        """
        try:
            certificate = self._build(profile, key, now, validity).sign(self._key, hashes.SHA256())
        except ValueError as error:
            raise IdentityError(f"certificate of instance {profile.common_name}: {error}") from error
        return certificate.public_bytes(serialization.Encoding.PEM) + self._pem

    def remaining_s(self, certificate: bytes, key: bytes, now: datetime) -> float:
        """Seconds until an issued certificate expires. Raises ValueError for another key or another CA."""
        issued = x509.load_pem_x509_certificate(certificate)  # the first of the file
        if serialization.load_pem_private_key(key, password=None).public_key() != issued.public_key():
            raise ValueError("the key belongs to another certificate")
        if not certificate.endswith(self._pem):
            raise ValueError("another CA issued the certificate")
        return (issued.not_valid_after_utc - now).total_seconds()

    def _build(
        self, profile: CertificateProfile, key: PrivateKey, now: datetime, validity: timedelta
    ) -> x509.CertificateBuilder:
        builder = (
            x509.CertificateBuilder()
            .serial_number(uuid.uuid4().int)
            .issuer_name(self._certificate.subject)
            .subject_name(_subject(profile))
            .not_valid_before(now)
            .not_valid_after(now + validity)
            .public_key(key.public_key())
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(_EXTENDED_KEY_USAGE, critical=False)
        )
        if names := _alternative_names(profile):
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._with_authority_key_identifier(builder)

    def _with_authority_key_identifier(self, builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        """Only if the CA has a key identifier; strict verifiers require it then."""
        try:
            named = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return builder
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named.value)
        return builder.add_extension(identifier, critical=False)


def private_pem(key: PrivateKey) -> bytes:
    """The traditional format (PKCS#1, SEC 1), unencrypted, which even old libraries read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=True,
    key_agreement=True,
    content_commitment=False,
    data_encipherment=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
)


def _subject(profile: CertificateProfile) -> x509.Name:
    units = [
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)
        for unit in dict.fromkeys(profile.organizational_units)
    ]
    name = x509.NameAttribute(NameOID.COMMON_NAME, profile.common_name[:COMMON_NAME_LIMIT])
    parts = [x509.RelativeDistinguishedName(units)] if units else []
    return x509.Name([*parts, x509.RelativeDistinguishedName([name])])


def _alternative_names(profile: CertificateProfile) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in profile.dns_names]
    return [*names, *(x509.IPAddress(ip_address(address)) for address in profile.addresses)]


def _certificate(path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
    except OSError as error:
        raise IdentityError(f"instance identity CA {path}: {error.strerror}") from error
    except ValueError as error:
        raise IdentityError(f"instance identity CA {path}: no PEM certificate: {error}") from error


def _key(path: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise IdentityError(f"instance identity CA key {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise IdentityError(f"instance identity CA key {path}: no unencrypted PEM key: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise IdentityError(f"instance identity CA key {path}: neither RSA nor ECDSA")
    return key


def utc_now() -> datetime:
    """The current time in whole seconds: certificates have no fractions."""
    return datetime.now(UTC).replace(microsecond=0)
