"""Parts of the healthcheck program: addresses, ports, HTTP. The recorded cases cover the whole."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from common.gotext import MILLISECOND, SECOND
from common.gourl import parse
from healthcheck import program
from healthcheck.addresses import choose, interfaces, ipv4_addresses
from healthcheck.attempt import http, tcp
from healthcheck.dial import Deadline, DialError, listed_port, port_number
from healthcheck.exchange import check_url, follow, request
from healthcheck.failure import ProbeError
from healthcheck.reading import ExchangeError, Parser, Reader

pytestmark = pytest.mark.unit

FOREVER = Deadline(None)


@pytest.mark.parametrize(
    ("order", "addresses", "chosen"),
    [
        ([1, 2], [(1, "127.0.0.1"), (2, "10.0.0.5"), (2, "10.0.0.6")], "10.0.0.5"),
        ([1, 2], [(2, "10.0.0.5"), (1, "127.0.0.1"), (1, "10.9.9.9")], "10.9.9.9"),
        ([1], [(1, "127.0.0.1"), (1, "127.5.5.5")], None),
        ([1], [(7, "10.0.0.5")], None),
        ([], [], None),
    ],
)
def test_which_address(order: list[int], addresses: list[tuple[int, str]], chosen: str | None) -> None:
    assert choose(order, addresses) == chosen


def test_the_kernel_lists_the_loopback_address() -> None:
    assert (socket.if_nametoindex("lo"), "127.0.0.1") in ipv4_addresses()
    assert socket.if_nametoindex("lo") in interfaces()


@pytest.mark.parametrize(
    ("port", "number"),
    [
        ("8080", 8080),
        ("+8080", 8080),
        ("08080", 8080),
        ("", 0),
        ("0", 0),
        ("-0", 0),
        ("http", 80),
        ("SSH", 22),
    ],
)
def test_port_numbers(port: str, number: int) -> None:
    assert port_number("tcp", port, lambda name: None) == number


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("-1", "dial tcp: address -1: invalid port"),
        ("65536", "dial tcp: address 65536: invalid port"),
        ("foo", "dial tcp: lookup tcp/foo: unknown port"),
        ("0x50", "dial tcp: lookup tcp/0x50: unknown port"),
        (" 80", "dial tcp: lookup tcp/ 80: unknown port"),
    ],
)
def test_ports_that_are_none(port: str, reason: str) -> None:
    with pytest.raises(DialError) as error:
        port_number("tcp", port, lambda name: None)
    assert str(error.value) == reason


def test_services_of_the_image(tmp_path: pytest.TempPathFactory) -> None:
    path = f"{tmp_path}/services"
    with open(path, "w") as listing:
        listing.write("# comment\nweb 8000/tcp www Alias # x\nweb 8001/udp\nbroken\n")
    assert listed_port("tcp", "web", path) == 8000
    assert listed_port("udp", "web", path) == 8001
    assert listed_port("tcp", "alias", path) == 8000
    assert listed_port("tcp", "none", path) is None
    assert listed_port("tcp", "web", "/nowhere") is None


@pytest.mark.parametrize(
    ("port", "uri", "target"),
    [
        ("80", "/", "/"),
        ("80", "?q=1", "/?q=1"),
        ("80", "/a b#f", "/a%20b"),
        ("80", "/\u00e4", "/%C3%A4"),
        ("80", "/a/../b//c", "/a/../b//c"),
        ("8", "0/x", "/x"),
        ("", "/", "/"),
    ],
)
def test_request_targets(port: str, uri: str, target: str) -> None:
    url = check_url("10.0.0.1", port, uri)
    assert url is not None
    assert request(url, None).startswith(f"GET {target} HTTP/1.1\r\nHost: 10.0.0.1".encode())


@pytest.mark.parametrize(
    ("port", "uri"),
    [("80", "health"), ("foo", "/"), ("+80", "/"), ("80", "/%zz"), ("80", "/\t"), ("80", "@h/")],
)
def test_what_makes_no_url(port: str, uri: str) -> None:
    assert check_url("10.0.0.1", port, uri) is None


@pytest.mark.parametrize("location", ["ftp://h/x", "http://[::1", "http:///x", "mailto:x"])
def test_redirects_that_cannot_be_followed(location: str) -> None:
    with pytest.raises(ExchangeError):
        follow(parse("http://h/"), location)


def test_the_referer_keeps_no_secrets() -> None:
    headers = request(parse("http://h/b"), parse("http://u:p@h/a#f")).decode()
    assert "Referer: http://h/a\r\n" in headers
    assert "Referer" not in request(parse("http://h/b"), parse("https://h/a")).decode()


def reader(*pieces: bytes) -> Reader:
    rest = [*pieces, b""]
    return Reader(lambda: rest.pop(0) if len(rest) > 1 else b"")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", 200),
        (b"HTTP/1.0 204\r\n\r\n", 204),
        (b"HTTP/1.1 200 OK\nA: b\n\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\nHTTP/1.1 404 X\r\n\r\n", 404),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101),
    ],
)
def test_heads(head: bytes, status: int) -> None:
    pieces = [head[at : at + 3] for at in range(0, len(head), 3)]
    assert reader(*pieces).head().status == status


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"hello",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 2000 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
    ],
)
def test_heads_that_cannot_be_used(head: bytes) -> None:
    with pytest.raises(ExchangeError):
        reader(head).head()


def test_a_body_is_read_to_its_end() -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ):
        source = reader(answer)
        source.drop_body(source.head())
    cut = reader(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    with pytest.raises(ExchangeError):
        cut.drop_body(cut.head())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_limit_from_outside_ends_an_attempt(listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    with pytest.raises(ProbeError) as error:
        http("127.0.0.1", port, "/", 10 * SECOND, Deadline.after(0.05))
    assert error.value.exit_code == 65
    assert str(error.value).endswith("timed out after 10.00 seconds")


@pytest.mark.parametrize(("timeout", "passes"), [(0, True), (SECOND, True), (-SECOND, False), (1, False)])
def test_time_for_a_connection(timeout: int, passes: bool, listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    if passes:
        tcp("tcp", "127.0.0.1", port, timeout, FOREVER)
    else:
        with pytest.raises(ProbeError) as error:
            tcp("tcp", "127.0.0.1", port, timeout, FOREVER)
        assert error.value.exit_code == 64


def test_no_interfaces(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> list[int]:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(program, "interfaces", refuse)
    assert program.main(["healthcheck"]) == 1
    assert capsys.readouterr().err == "Failed to get interfaces: permission denied\n"


def test_unreadable_addresses_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> list[tuple[int, str]]:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(program, "ipv4_addresses", refuse)
    assert program.main(["healthcheck", f"-timeout={MILLISECOND}ns"]) == 3
    warning, failure = capsys.readouterr().err.splitlines()
    assert warning.startswith("Warning: failed getting addresses for interface ")
    assert failure == "failure to find suitable interface"


@pytest.mark.parametrize("size", [b"-4\r\n-8", b"", b"0x5", b"1_0", b"+5", b"5 5"])
def test_a_chunk_has_a_size_in_hexadecimal_digits(size: bytes) -> None:
    """A negative size would send the reader back over what it has read, without end."""
    parser = Parser(max_lines=100)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + b"x" * 100
    head = parser.head()
    next(head)
    with pytest.raises(StopIteration) as ended:
        head.send(answer)
    body = parser.body(ended.value.value)
    with pytest.raises(ExchangeError, match="malformed chunk size"):
        next(body)
