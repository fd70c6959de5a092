"""Failure texts of requests: without names of our library or paths of the host."""

from __future__ import annotations

import errno
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from executor.cache.transport import transport_text

pytestmark = pytest.mark.unit

KEY = ConnectionKey("blobs.example", 443, True, True, None, None, None)
INFO = aiohttp.RequestInfo(URL("http://h/"), "GET", CIMultiDictProxy(CIMultiDict()))


def several() -> OSError:
    """What asyncio says of a name with several addresses."""
    return OSError(
        "Multiple exceptions: [Errno 111] Connect call failed ('::1', 443, 0, 0), "
        "[Errno 111] Connect call failed ('127.0.0.1', 443)"
    )


def unverified() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")),
            "dial tcp: lookup blobs.example: no such host",
        ),
        (
            aiohttp.ClientConnectorError(KEY, several()),
            "dial tcp ::1:443: connect: connection refused",
        ),
        (
            aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "Network is unreachable")),
            "dial tcp blobs.example:443: connect: network is unreachable",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, unverified()),
            "tls: failed to verify certificate: x509: self-signed certificate",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "[SSL: WRONG_VERSION]")),
            "tls: handshake failure",
        ),
        (aiohttp.ServerDisconnectedError(), "EOF"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "Cannot write"), "cannot write"),
        (aiohttp.ClientOSError(), "connection failed"),
        (aiohttp.ClientPayloadError("<ContentLengthError: 400>"), "unexpected EOF"),
        (aiohttp.TooManyRedirects(INFO, ()), "stopped after 10 redirects"),
        (
            aiohttp.ClientResponseError(INFO, (), status=400, message="Data after `Connection: close`"),
            "net/http: HTTP/1.x transport connection broken: malformed HTTP response",
        ),
        (
            aiohttp.ServerTimeoutError("Timeout on reading data from socket"),
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
        ),
        (FileNotFoundError(2, "No such file or directory", "/var/cell/temp/1"), "no such file or directory"),
        (aiohttp.InvalidURL("http://h"), "invalid URL"),
        (aiohttp.ClientError(), "net/http: request failed"),
    ],
)
def test_the_text(error: Exception, text: str) -> None:
    assert transport_text(error) == text
