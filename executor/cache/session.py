"""HTTP client for assets: trusted CAs and client certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetTLS:
    """Paths of PEM files, empty for none. cert, key: our identity, both or neither. ca_files: trusted in
    addition to the system's roots.
    """

    cert: str = ""
    key: str = ""
    ca_files: tuple[str, ...] = ()
    skip_cert_verify: bool = False


def tls_context(tls: AssetTLS) -> ssl.SSLContext:
    """The client's TLS context. Raises ValueError for a certificate without key or vice versa, OSError for
    invalid files.
    """
    if bool(tls.cert) != bool(tls.key):
        raise ValueError("The TLS certificate or key is missing")
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in filter(None, tls.ca_files):
        context.load_verify_locations(path)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    if tls.skip_cert_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def asset_session(tls: AssetTLS) -> aiohttp.ClientSession:
    """A session that never reuses connections and honours the proxy variables. The caller closes it."""
    connector = aiohttp.TCPConnector(ssl=tls_context(tls), force_close=True, limit=0)
    return aiohttp.ClientSession(connector=connector, trust_env=True)
