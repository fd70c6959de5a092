"""Proxies from the environment, selected by the rules of Go's ``net/http``.

The variables are ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, or the same names in lower case; the upper
case name takes precedence. Loopback addresses and ``localhost`` are always reached directly.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
from collections.abc import Mapping
from typing import Final

from common.gourl import URL, URLError, parse

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Proxy scheme -> default port. Only these schemes are supported."""
IN_CGI: Final = "net/http: refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy"
MAX_SOCKS_FIELD: Final = 255
"""Limit of a host name, user or password in SOCKS 5, in bytes (RFC 1928, RFC 1929)."""
SOCKS_ERRORS: Final = {
    1: "general SOCKS server failure",
    2: "connection not allowed by ruleset",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class ProxyError(Exception):
    """A proxy is unusable or refuses the request; ``str()`` is the reason."""


def choose(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> URL | None:
    """The proxy for a request to ``host``; None for a direct connection. Raises ProxyError."""
    name = "HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY"
    proxy = _parse(_value(environment, name))
    if proxy is None or not _uses_proxy(host.lower().strip(), str(port), _value(environment, "NO_PROXY")):
        return None
    if scheme == "http" and environment.get("REQUEST_METHOD"):
        raise ProxyError(IN_CGI)
    if proxy.scheme not in DEFAULT_PORTS:
        raise ProxyError(f"unsupported proxy scheme {proxy.scheme}")
    return proxy


def address(proxy: URL) -> tuple[str, int]:
    """Host and port of a proxy."""
    host, digits = proxy.hostname_and_port()
    return host, int(digits) if digits else DEFAULT_PORTS[proxy.scheme]


def authorization(proxy: URL) -> dict[str, str]:
    """The header with the proxy's user and password; empty if the URL has none."""
    if proxy.user is None:
        return {}
    pair = f"{proxy.user}:{proxy.password or ''}".encode("latin-1")
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def open_tunnel(sock: socket.socket, proxy: URL, host: str, port: int) -> None:
    """Turn a connection to a proxy into a tunnel to ``host``. Raises ProxyError, OSError, HTTPException."""
    if proxy.scheme.startswith("socks5"):
        _socks_connect(sock, proxy, host, port)
    else:
        _http_connect(sock, proxy, host, port)


def _value(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.lower()) or ""


def _parse(text: str) -> URL | None:
    """Parse the URL of a proxy; ``host:port`` means HTTP. None for an unset variable or an invalid URL."""
    for candidate in (text, f"http://{text}") if text else ():
        try:
            url = parse(candidate)
        except URLError:
            continue
        if url.scheme and url.host:
            return url
    return None


def _uses_proxy(host: str, port: str, excluded: str) -> bool:
    """Whether a host is reached through a proxy. excluded: the value of ``NO_PROXY``."""
    ip = _ip(host)
    if host == "localhost" or (ip is not None and ip.is_loopback):
        return False
    return not any(_matches(item.strip().lower(), host, port, ip) for item in excluded.split(","))


def _matches(
    item: str, host: str, port: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    """Whether an element of ``NO_PROXY`` covers a host: ``*``, a network, an address or a domain."""
    if item in ("", "*"):
        return item == "*"
    if "/" in item:
        try:
            return ip is not None and ip in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    name, wanted_port = _split_port(item)
    if wanted_port not in ("", port):
        return False
    address = _ip(name)
    if address is not None:
        return address == ip
    if name.startswith("*."):
        name = name[1:]
    return bool(name) and (host == name or host.endswith(f".{name.removeprefix('.')}"))


def _split_port(item: str) -> tuple[str, str]:
    """Split ``host:port``; an item without a port, such as a bare IPv6 address, stays whole."""
    if item.startswith("["):
        name, _, rest = item[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = item.partition(":")
    return (name, port) if colon and ":" not in port else (item, "")


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _http_connect(sock: socket.socket, proxy: URL, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in authorization(proxy).items()]
    sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1"))
    answer = http.client.HTTPResponse(sock, method="CONNECT")
    try:
        answer.begin()
        if answer.status != http.client.OK:
            raise ProxyError(answer.reason or str(answer.status))
    finally:
        answer.close()


def _socks_connect(sock: socket.socket, proxy: URL, host: str, port: int) -> None:
    """Connect through SOCKS 5 (RFC 1928, RFC 1929); the proxy resolves the name."""
    methods = b"\0" if proxy.user is None else b"\0\2"
    sock.sendall(bytes([5, len(methods)]) + methods)
    version, method = _read(sock, 2)
    if version != 5 or method not in methods:
        raise ProxyError("no acceptable authentication methods")
    if method == 2:
        sock.sendall(b"\1" + _field(proxy.user or "") + _field(proxy.password or ""))
        if _read(sock, 2)[1] != 0:
            raise ProxyError("username/password authentication failed")
    ip = _ip(host)
    if ip is not None:
        destination = bytes([1 if ip.version == 4 else 4]) + ip.packed
    else:
        destination = b"\3" + _field(host)
    sock.sendall(b"\5\1\0" + destination + port.to_bytes(2, "big"))
    _, code, _, kind = _read(sock, 4)
    if code != 0:
        raise ProxyError(SOCKS_ERRORS.get(code, f"unknown code: {code}"))
    lengths = {1: 4, 4: 16}
    _read(sock, (lengths[kind] if kind in lengths else _read(sock, 1)[0]) + 2)


def _field(text: str) -> bytes:
    """A length-prefixed text. Raises ProxyError."""
    data = text.encode("latin-1")
    if len(data) > MAX_SOCKS_FIELD:
        raise ProxyError("a host name, user or password is longer than 255 bytes")
    return bytes([len(data)]) + data


def _read(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes. Raises ProxyError, OSError."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ProxyError("unexpected EOF")
        data += piece
    return data
