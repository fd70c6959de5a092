"""HTTP requests of the in-container programs, with the platform's error texts."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from common.goerrors import dial_failed, lookup_failed, reason
from common.gotext import quote
from common.gourl import URL
from common.imagetls import client_context, ssl
from common.imagetls import reason as tls_reason
from lifecycle import proxy as proxies

DEFAULT_PORTS = {"http": 80, "https": 443}


CUT_OFF = "unexpected EOF"
"""Error text for a body that ends too early."""


class TransportError(Exception):
    """No answer came; ``str()`` is the bare reason."""


@contextmanager
def request(
    method: str,
    url: URL,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    context: ssl.SSLContext | None = None,
    timeout: float | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send one request on its own connection. The answer can be read until the block ends.

    The environment may name a proxy. ``timeout`` in s applies to each wait. Redirects are not followed.
    Raises TransportError, also if reading inside the block fails.
    """
    if url.scheme not in DEFAULT_PORTS:
        raise TransportError(f"unsupported protocol scheme {quote(url.scheme)}")
    host, digits = url.hostname_and_port()
    if not host:
        raise TransportError("http: no Host in request URL")
    port = int(digits) if digits else DEFAULT_PORTS[url.scheme]
    connection = http.client.HTTPConnection(host, port)
    try:
        proxy = proxies.choose(url.scheme, host, port, os.environ)
        sock = _connect(host, port, timeout) if proxy is None else _connect_through(proxy, url, timeout)
        connection.sock = sock
        if url.scheme == "https":
            connection.sock = (context or client_context()).wrap_socket(sock, server_hostname=host)
        forwarded = proxy is not None and url.scheme == "http" and proxy.scheme in ("http", "https")
        target = _absolute(url) if forwarded else url.request_target()
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        all_headers = {"Host": url.authority(), **(headers or {})}
        if forwarded and proxy is not None:
            all_headers |= proxies.authorization(proxy)
        if body is not None:
            all_headers["Content-Length"] = str(len(body))
        for name, value in all_headers.items():
            _put_header(connection, name, value)
        connection.endheaders(body)
        yield connection.getresponse()
    except proxies.ProxyError as error:
        raise TransportError(str(error)) from error
    except ssl.SSLError as error:
        raise TransportError(tls_reason(error)) from error
    except TimeoutError as error:
        raise TransportError("context deadline exceeded") from error
    except http.client.RemoteDisconnected as error:
        raise TransportError("EOF") from error
    except OSError as error:
        raise TransportError(reason(error)) from error
    except http.client.IncompleteRead as error:
        raise TransportError(CUT_OFF) from error
    except http.client.HTTPException as error:
        raise TransportError(f"malformed HTTP response: {error}") from error
    finally:
        connection.close()


def check_complete(answer: http.client.HTTPResponse) -> None:
    """Raises TransportError if a body that was read in pieces ended too early."""
    if answer.length:
        raise TransportError(CUT_OFF)


def _put_header(connection: http.client.HTTPConnection, name: str, value: str) -> None:
    """Add a header. Raises TransportError for an invalid value, which may come from a server."""
    try:
        connection.putheader(name, value)
    except ValueError as error:
        raise TransportError(f'net/http: invalid header field value for "{name}"') from error


def _absolute(url: URL) -> str:
    """The request target for a forwarding proxy."""
    return f"{url.scheme}://{url.authority()}{url.request_target()}"


def _connect_through(proxy: URL, url: URL, timeout: float | None) -> socket.socket:
    """A connection to the server of ``url`` through the proxy, or to the proxy itself if it forwards
    requests.

    Raises TransportError, ProxyError, OSError, HTTPException.
    """
    if proxy.scheme == url.scheme == "https":
        raise TransportError("proxyconnect tcp: TLS inside the TLS of an https:// proxy is not supported")
    proxy_host, proxy_port = proxies.address(proxy)
    try:
        sock = _connect(proxy_host, proxy_port, timeout)
    except TransportError as error:
        raise TransportError(f"proxyconnect tcp: {error}") from error
    try:
        if proxy.scheme == "https":
            sock = client_context().wrap_socket(sock, server_hostname=proxy_host)
        if url.scheme == "https" or proxy.scheme.startswith("socks5"):
            host, digits = url.hostname_and_port()
            proxies.open_tunnel(sock, proxy, host, int(digits) if digits else DEFAULT_PORTS[url.scheme])
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to the first address of ``host`` that accepts it. Raises TransportError."""
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransportError(lookup_failed(host)) from error
    first = ""
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            first = first or dial_failed(str(address[0]), port, error)
    raise TransportError(first)
