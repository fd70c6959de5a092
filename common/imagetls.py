"""TLS client contexts for the programs inside containers, in any image.

They use the image's root certificates, but not its OpenSSL configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["client_context", "reason", "ssl"]

_FOR_OTHERS = ("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSLKEYLOGFILE")
"""Variables for the image's own OpenSSL. The programs bring their own copy, which must ignore them."""


@contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["OPENSSL_CONF"] = os.devnull
    try:
        yield
    finally:
        del os.environ["OPENSSL_CONF"]
        os.environ.update(kept)


with _hidden(_FOR_OTHERS):  # OpenSSL reads its configuration once, on load
    import ssl

ROOT_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Files where distributions keep their trusted roots; the first existing file is used."""


def client_context(verify: bool = True, extra_roots: Iterable[Path] = ()) -> ssl.SSLContext:
    """A client context that trusts the image's roots and the PEM files ``extra_roots``.

    A root file without a usable certificate is skipped: certificate directories often contain other files.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for path in [*_system_roots(), *extra_roots]:
        try:
            context.load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError):
            continue
    return context


def _system_roots() -> list[Path]:
    named = os.environ.get("SSL_CERT_FILE")
    files = [Path(named)] if named else [Path(path) for path in ROOT_FILES if Path(path).is_file()][:1]
    folder = os.environ.get("SSL_CERT_DIR")
    for part in folder.split(":") if folder else []:
        files += sorted(path for path in Path(part).glob("*") if path.is_file())
    return files


def reason(error: ssl.SSLError) -> str:
    """Error text of a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        untrusted = {2, 18, 19, 20, 21}  # OpenSSL's codes for an untrusted chain
        if error.verify_code in untrusted:
            return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        return f"tls: failed to verify certificate: x509: {error.verify_message}"
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return "tls: first record does not look like a TLS handshake"
    return f"tls: {(error.reason or str(error)).lower().replace('_', ' ')}"
