"""Validation of URLs and error texts of failed requests, with the Go cell's wording. Pure."""

from __future__ import annotations

import re
import ssl

import aiohttp

from common.goerrors import errno_text, lookup_failed
from common.gotext import quote
from common.gourl import URLError, parse
from executor.errors import ExecutorError

_FIRST_ATTEMPT = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)', \d+")

_TEXTS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    (aiohttp.TooManyRedirects, "stopped after 10 redirects"),
    (aiohttp.ServerDisconnectedError, "EOF"),
    (aiohttp.ClientPayloadError, "unexpected EOF"),
    (aiohttp.ClientResponseError, "net/http: HTTP/1.x transport connection broken: malformed HTTP response"),
    (aiohttp.InvalidURL, "invalid URL"),
)


class InvalidURL(ExecutorError):
    """The text is not a valid URL; the message has the reason."""

    text = "invalid URL"


def check_url(url: str) -> None:
    """Raise InvalidURL for URLs that the Go cell refuses to parse.

    An address that begins with ``//`` is refused too: the HTTP client fails on it with an AssertionError.
    """
    try:
        parse(url)
    except URLError as error:
        raise InvalidURL(str(error)) from error
    if url.startswith("//"):
        raise InvalidURL(f"parse {quote(url)}: missing protocol scheme")


def transport_text(error: Exception) -> str:
    """The reason of a failed request. The library's own texts show internal values and host paths."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return lookup_failed(error.host)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {_certificate_text(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls: handshake failure"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connect_text(error)
    for kind, text in _TEXTS:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError):
        return (error.strerror or errno_text(error.errno)).lower() if error.errno else "connection failed"
    if isinstance(error, aiohttp.ClientError):
        return "net/http: request failed"
    return str(error) or type(error).__name__


def _connect_text(error: aiohttp.ClientConnectorError) -> str:
    """If several addresses were tried, the first one is reported."""
    attempt = _FIRST_ATTEMPT.search(str(error.os_error))
    number = int(attempt[1]) if attempt else error.os_error.errno or 0
    words = errno_text(number) if number > 0 else "connection failed"
    return f"dial tcp {attempt[2] if attempt else error.host}:{error.port}: connect: {words}"


def _certificate_text(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"x509: {error.verify_message}"
    return "x509: certificate is not valid"
