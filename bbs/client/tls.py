"""TLS contexts from files, with the settings of a deployment: mutual TLS, versions 1.2 and 1.3 only.

Files are read once; :mod:`bbs.client.identity` follows changes. The two suites of TLS 1.2 need RSA
certificates.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

TLS_1_2_SUITES = ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256")


class TLSConfigurationError(Exception):
    """The files are not a usable identity; the message names the file."""


class CertificateExpired(TLSConfigurationError):
    """The certificate has expired; the file may be renewed at any time."""


def client_context(ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Client context that verifies the server against ``ca_file`` and the dialled host name.

    Raises :class:`TLSConfigurationError`.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca_file, cert_file, key_file)


def unverified_client_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Client context that does not verify the server certificate; for tools, at the user's request.

    Raises :class:`TLSConfigurationError`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, None, cert_file, key_file)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server_context(ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Server context that requires a client certificate signed by ``ca_file``; names are not checked.

    Raises :class:`TLSConfigurationError`.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca_file, cert_file, key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def own_certificate(cert_file: Path) -> x509.Certificate:
    """First certificate of a file. Raises :class:`TLSConfigurationError`, also if it has expired."""
    certificate = _read_certificate(cert_file)
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise CertificateExpired(
            f"certificate {cert_file} expired at {certificate.not_valid_after_utc.isoformat()}"
        )
    return certificate


def end_of_validity(cert_file: Path) -> datetime:
    """When the first certificate of a file expires. Raises :class:`TLSConfigurationError`."""
    return _read_certificate(cert_file).not_valid_after_utc


def _read_certificate(cert_file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise TLSConfigurationError(f"cannot read certificate {cert_file}: {error}") from error


def _context(protocol: int, ca_file: Path | None, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    own_certificate(cert_file)
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS_1_2_SUITES))
    try:
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TLSConfigurationError(f"cannot read CA certificates {ca_file}: {error}") from error
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise TLSConfigurationError(
            f"cannot use certificate {cert_file} with key {key_file}: {error}"
        ) from error
    return context
