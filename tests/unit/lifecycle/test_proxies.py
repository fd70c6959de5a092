"""Proxies of the environment: the requests that use them, and the protocol."""

from __future__ import annotations

import base64
import http.client
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.gourl import parse
from common.imagetls import client_context
from lifecycle import proxy
from lifecycle.buildpack.buildpacks import Buildpack
from lifecycle.buildpack.download import download
from lifecycle.docker.reference import parse as parse_reference
from lifecycle.docker.registry import Credentials, Registry
from lifecycle.http import TransportError, request
from lifecycle.proxy import ProxyError, choose

pytestmark = pytest.mark.unit

PROXY = "http://proxy.example:3128"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("scheme", "environment", "chosen"),
    [
        ("http", {}, None),
        ("http", {"HTTP_PROXY": PROXY}, PROXY),
        ("http", {"http_proxy": PROXY}, PROXY),
        ("http", {"HTTP_PROXY": "", "http_proxy": PROXY}, PROXY),
        ("http", {"HTTP_PROXY": PROXY, "http_proxy": "http://other:1"}, PROXY),
        ("http", {"HTTPS_PROXY": PROXY}, None),
        ("https", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https", {"https_proxy": PROXY, "REQUEST_METHOD": "GET"}, PROXY),
        ("https", {"HTTP_PROXY": PROXY}, None),
        ("https", {"ALL_PROXY": PROXY}, None),
        ("http", {"HTTP_PROXY": "proxy.example:3128"}, PROXY),
        ("http", {"HTTP_PROXY": "http://%zz"}, None),
        ("http", {"HTTP_PROXY": "socks5://proxy.example"}, "socks5://proxy.example"),
    ],
)
def test_the_proxy_of_a_scheme(scheme: str, environment: dict[str, str], chosen: str | None) -> None:
    found = choose(scheme, "host.example", 80, environment)
    assert (found and str(found)) == chosen


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "refusing to use HTTP_PROXY value in CGI"),
        ({"HTTP_PROXY": "ftp://proxy.example"}, "unsupported proxy scheme ftp"),
    ],
)
def test_proxies_that_are_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ProxyError, match=message):
        choose("http", "host.example", 80, environment)


@pytest.mark.parametrize(
    ("host", "port", "excluded", "direct"),
    [
        ("host.example", 80, "", False),
        ("host.example", 80, " , ,", False),
        ("localhost", 80, "", True),
        ("127.8.8.8", 80, "", True),
        ("::1", 80, "", True),
        ("host.example", 80, "*", True),
        ("host.example", 80, "other, *", True),
        ("host.example", 80, "host.example", True),
        ("HOST.example", 80, "Host.Example", True),
        ("sub.host.example", 80, "host.example", True),
        ("thehost.example", 80, "host.example", False),
        ("host.example", 80, ".host.example", False),
        ("sub.host.example", 80, ".host.example", True),
        ("host.example", 80, "*.host.example", False),
        ("a.sub.host.example", 80, "*.host.example", True),
        ("host.example", 80, "*host.example", False),
        ("host.example", 80, "host.example:80", True),
        ("host.example", 81, "host.example:80", False),
        ("10.1.2.3", 80, "10.1.2.3", True),
        ("10.1.2.3", 81, "10.1.2.3:80", False),
        ("10.1.2.3", 80, "10.0.0.0/8", True),
        ("11.1.2.3", 80, "10.0.0.0/8", False),
        ("11.1.2.3", 80, "10.0.0.0/99", False),
        ("host.example", 80, "10.0.0.0/8", False),
        ("2001:db8::1", 80, "2001:db8::1", True),
        ("2001:db8::1", 80, "[2001:db8::1]:80", True),
        ("2001:db8::1", 81, "[2001:db8::1]:80", False),
        ("2001:db8::1", 80, "2001:db8::/32", True),
    ],
)
def test_hosts_that_are_reached_directly(host: str, port: int, excluded: str, direct: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = choose("http", host, port, {"HTTP_PROXY": PROXY, name: excluded})
        assert (found is None) is direct


# -- real connections -----------------------------------------------------------------------------------


class Tunnels(socketserver.ThreadingTCPServer):
    """A proxy whose tunnels all lead to ``target``."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int], greet: Callable[[Any, Any], bool]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target, self.greet = target, greet
        self.asked: list[str] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may go at any time."""


class _Tunnel(socketserver.StreamRequestHandler):
    rbufsize = 0

    def handle(self) -> None:
        server: Any = self.server
        if not server.greet(self, server):
            return
        with socket.create_connection(server.target) as behind:
            back = threading.Thread(target=_copy, args=(behind, self.connection))
            back.start()
            _copy(self.connection, behind)
            back.join()


def _copy(source: socket.socket, to: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        to.close()


def http_connect(handler: Any, server: Any) -> bool:
    lines = []
    while line := handler.rfile.readline().strip().decode():
        lines.append(line)
    server.asked += lines
    welcome = not any("refuse" in line for line in lines)
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" if welcome else b"HTTP/1.1 407 Who are you\r\n\r\n")
    return welcome


def socks(handler: Any, server: Any) -> bool:
    """Requires user ``u`` with password ``p``; refuses hosts with such a name."""
    _, count = handler.rfile.read(2)
    assert 2 in handler.rfile.read(count)
    handler.wfile.write(b"\5\2")
    assert handler.rfile.read(5) == b"\1\1u\1p"
    handler.wfile.write(b"\1\0")
    *_, kind = handler.rfile.read(4)
    name = handler.rfile.read(4 if kind == 1 else handler.rfile.read(1)[0])
    port = int.from_bytes(handler.rfile.read(2), "big")
    server.asked.append(f"{kind} {name!r} {port}")
    code = 2 if b"refuse" in name else 0
    handler.wfile.write(bytes([5, code, 0, 1]) + bytes(6))
    return code == 0


@contextmanager
def tunnels(there: Any, greet: Callable[[Any, Any], bool]) -> Iterator[Tunnels]:
    host, _, port = there.host.partition(":")
    with Tunnels((host, int(port)), greet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def zipped() -> bytes:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        members.writestr("bin/detect", "#!/bin/sh\n")
    return out.getvalue()


def test_a_buildpack_by_url_comes_through_the_proxy(
    registry: Any, answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is honoured for a custom buildpack, with the proxy's password in a header."""
    url = "http://buildpacks.example/b.zip"
    registry.rules[url] = answer(zipped())
    monkeypatch.setenv("http_proxy", registry.url)
    buildpack = Buildpack(f"{url}?v=1", tmp_path)
    download(buildpack, verify=True)
    assert (tmp_path / buildpack.hash / "bin/detect").exists()
    assert [each.path for each in registry.asked] == [f"{url}?v=1"]


def test_an_image_s_configuration_comes_through_the_proxy(
    registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is honoured for a registry."""
    registry.put_image({"Cmd": ["/app"]})
    registry.rules = {f"http://registry.example:5000{path}": rule for path, rule in registry.rules.items()}
    monkeypatch.setenv("HTTP_PROXY", registry.host)
    monkeypatch.setattr("lifecycle.http._connect", _only(registry.host))
    there = Registry(parse_reference("registry.example:5000/team/app:v1"), Credentials(), insecure=True)
    digest, _ = there.config_digest()
    assert there.config(digest)["config"] == {"Cmd": ["/app"]}


def _only(host: str) -> Callable[..., socket.socket]:
    """Connect to one address; all other names do not resolve."""

    def connect(name: str, port: int, timeout: float | None) -> socket.socket:
        if f"{name}:{port}" != host:
            raise TransportError(f"dial tcp: lookup {name}: no such host")
        return socket.create_connection((name, port), timeout)

    return connect


@pytest.mark.parametrize(
    ("greet", "scheme", "asked"),
    [
        (http_connect, "http", "CONNECT host.example:443 HTTP/1.1"),
        (socks, "socks5", "3 b'host.example' 443"),
    ],
)
def test_https_goes_through_a_tunnel(
    greet: Callable[[Any, Any], bool],
    scheme: str,
    asked: str,
    tls_registry: Any,
    answer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls_registry.rules["/x"] = answer(b"found")
    with tunnels(tls_registry, greet) as there:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://u:p@{there.host}")
        context = client_context(verify=False)
        with request("GET", parse("https://host.example/x"), context=context, timeout=10) as got:
            assert got.read() == b"found"
    assert there.asked[0] == asked
    if scheme == "http":
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'u:p').decode()}" in there.asked


def test_plain_http_goes_through_socks_too(
    registry: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.rules["/x"] = answer(b"found")
    with tunnels(registry, socks) as there:
        monkeypatch.setenv("HTTP_PROXY", f"socks5h://u:p@{there.host}")
        with request("GET", parse("http://10.2.3.4:8080/x"), timeout=10) as got:
            assert got.read() == b"found"
    assert there.asked == ["1 b'\\n\\x02\\x03\\x04' 8080"]


@pytest.mark.parametrize(
    ("greet", "scheme", "message"),
    [
        (http_connect, "http", "Who are you"),
        (socks, "socks5", "connection not allowed by ruleset"),
    ],
)
def test_a_proxy_that_refuses(
    greet: Callable[[Any, Any], bool],
    scheme: str,
    message: str,
    tls_registry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tunnels(tls_registry, greet) as there:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://u:p@{there.host}")
        with pytest.raises(TransportError) as failed, request("GET", parse("https://refuse.example/")):
            pass
    assert str(failed.value) == message


@pytest.mark.parametrize(
    ("proxy_url", "message"),
    [
        ("http://127.0.0.1:1", "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"),
        ("https://127.0.0.1:1", "proxyconnect tcp: TLS inside the TLS of an https:// proxy is not supported"),
    ],
)
def test_a_proxy_that_cannot_be_used(proxy_url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy_url)
    with pytest.raises(TransportError) as failed, request("GET", parse("https://host.example/")):
        pass
    assert str(failed.value) == message


@pytest.mark.parametrize("said", [b"", b"\5", b"\5\xff", b"HTTP/1.1 400 Bad\r\n\r\n"])
def test_a_proxy_that_answers_nonsense(said: bytes, tls_registry: Any) -> None:
    """A broken answer of a SOCKS proxy is an error in words."""

    def talk(handler: Any, _: Any) -> bool:
        handler.rfile.read(3)
        handler.wfile.write(said)
        return False

    with tunnels(tls_registry, talk) as there:
        url = parse(f"socks5://{there.host}")
        with (
            socket.create_connection(proxy.address(url)) as sock,
            pytest.raises((ProxyError, OSError, http.client.HTTPException)),
        ):
            proxy.open_tunnel(sock, url, "host.example", 443)
