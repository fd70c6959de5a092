"""Redirects of the program and of the agent's probe: to TLS, to IPv6, and to other hosts."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cell.development.certs import Authority
from common.gotext import SECOND
from healthcheck import attempt, probe
from healthcheck.dial import Deadline
from healthcheck.failure import HTTP_ERROR, HTTP_STATUS, HTTP_TIMEOUT, ProbeError
from tests.support.sockets import open_here

pytestmark = pytest.mark.unit

CONTAINER = "127.0.0.2"
"""An address of this machine that others of its loopback addresses are not the same as."""

OK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

Check = Callable[..., Awaitable[None]]


async def by_program(host: str, port: int, uri: str = "/", timeout: float = 5.0) -> None:
    seconds = int(timeout * SECOND)
    await asyncio.to_thread(attempt.http, host, str(port), uri, seconds, Deadline(None))


async def by_probe(host: str, port: int, uri: str = "/", timeout: float = 5.0) -> None:
    await probe.http_check(host, port, uri, timeout, open_here)


@pytest.fixture(params=[by_program, by_probe])
def check(request: pytest.FixtureRequest) -> Check:
    chosen: Check = request.param
    return chosen


def redirect(location: str) -> str:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"


class App:
    """Answers everything alike and keeps the heads of requests."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = OK
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer.encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a client that went without a question
        finally:
            writer.close()


@asynccontextmanager
async def app(
    host: str = CONTAINER, port: int = 0, tls: ssl.SSLContext | None = None, answer: str = OK
) -> AsyncIterator[App]:
    this = App()
    this.answer = answer
    async with await asyncio.start_server(this.serve, host, port, ssl=tls) as server:
        this.port = server.sockets[0].getsockname()[1]
        yield this


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from ipaddress import ip_address

    from cryptography import x509

    names = [x509.IPAddress(ip_address(CONTAINER)), x509.DNSName("app.test")]
    return Authority.create("apps").issue(tmp_path_factory.mktemp("app"), "app", names=names)


@pytest.fixture
def tls(identity: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    return context


@pytest.fixture
def trusted(identity: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make this machine trust the apps' authority, or none."""

    def choose(known: bool, empty: Path) -> None:
        empty.write_text("")
        monkeypatch.setenv("SSL_CERT_FILE", str(identity.ca_file if known else empty))
        monkeypatch.setenv("SSL_CERT_DIR", str(empty.parent / "none"))
        probe._tls_context.cache_clear()

    yield choose
    probe._tls_context.cache_clear()


@pytest.mark.parametrize("known", [True, False])
async def test_https_behind_a_redirect_is_verified(
    known: bool, check: Check, tls: ssl.SSLContext, trusted: Any, tmp_path: Path
) -> None:
    trusted(known, tmp_path / "empty")
    async with app(tls=tls) as secure, app() as plain:
        plain.answer = redirect(f"https://{CONTAINER}:{secure.port}/in")
        if known:
            await check(CONTAINER, plain.port)
            assert secure.heads[0].startswith("GET /in HTTP/1.1\r\n")
            assert f"\r\nReferer: http://{CONTAINER}:{plain.port}/\r\n" in secure.heads[0]
        else:
            with pytest.raises(ProbeError) as failed:
                await check(CONTAINER, plain.port, "/x")
            assert failed.value.exit_code == HTTP_ERROR
            assert str(failed.value) == (
                f"failed to make HTTP request to '/x' on port {plain.port}: connection refused"
            )
            assert secure.heads == []


async def test_back_to_plain_http_without_a_referer(
    check: Check, tls: ssl.SSLContext, trusted: Any, tmp_path: Path
) -> None:
    trusted(True, tmp_path / "empty")
    async with app(tls=tls) as secure, app() as plain, app() as final:
        plain.answer = redirect(f"https://{CONTAINER}:{secure.port}/")
        secure.answer = redirect(f"http://{CONTAINER}:{final.port}/")
        await check(CONTAINER, plain.port)
        assert "Referer" not in final.heads[0]


async def test_https_where_plain_http_is_spoken(check: Check) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(complain, CONTAINER, 0) as server, app() as plain:
        plain.answer = redirect(f"https://{CONTAINER}:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(ProbeError) as failed:
            await check(CONTAINER, plain.port)
        assert failed.value.exit_code == HTTP_ERROR


async def test_a_tls_handshake_that_takes_too_long(check: Check) -> None:
    async with app() as plain:
        with socket.create_server((CONTAINER, 0)) as silent:
            plain.answer = redirect(f"https://{CONTAINER}:{silent.getsockname()[1]}/")
            with pytest.raises(ProbeError) as failed:
                await check(CONTAINER, plain.port, "/x", 0.5)
        assert failed.value.exit_code == HTTP_TIMEOUT
        assert str(failed.value) == (
            f"failed to make HTTP request to '/x' on port {plain.port}: timed out after 0.50 seconds"
        )


async def test_an_ipv6_literal(check: Check) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        this = App()
        async with await asyncio.start_server(this.serve, sock=listener.dup()), app() as plain:
            plain.answer = redirect(f"http://[::1]:{listener.getsockname()[1]}/six")
            await check(CONTAINER, plain.port)
        assert this.heads[0].startswith("GET /six HTTP/1.1\r\n")
        assert f"\r\nHost: [::1]:{listener.getsockname()[1]}\r\n" in this.heads[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "[::ffff:127.0.0.1]"])
async def test_what_a_container_calls_itself_is_dialled_in_its_network(host: str, check: Check) -> None:
    async with app("127.0.0.1") as own, app() as asked:
        asked.answer = redirect(f"http://{host}:{own.port}/own")
        await check(CONTAINER, asked.port)
        assert own.heads[0].startswith("GET /own HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "location",
    [
        "http://192.0.2.1/secret?delete=all",
        "http://169.254.169.254/latest/",
        "https://10.0.0.1/",
        "//[2001:db8::1]:8080/",
        "http://[::ffff:10.0.0.1]/",
        "http://name.without.an.answer/",
        "http://127.0.0.1.example/",
        "http://127.0.0.2@10.0.0.1/",
    ],
)
async def test_the_probe_does_not_go_to_another_host(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe fetched ``http://192.0.2.2/secret?delete=all`` from the host's network when the app told it
    to.

    It also looked up names, in threads that all of the agent shares.
    """

    async def open_socket(family: socket.AddressFamily) -> socket.socket:
        opened.append(family)
        return await open_here(family)

    async def look_up(*_: object, **__: object) -> None:
        raise AssertionError("a name is looked up")

    opened: list[socket.AddressFamily] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    async with app(answer=redirect(location)) as asked:
        with pytest.raises(ProbeError, match=r"received status code 302 in \d+ms") as failed:
            await probe.http_check(CONTAINER, asked.port, "/x", 5.0, open_socket)
    assert failed.value.exit_code == HTTP_STATUS
    assert opened == [socket.AF_INET]


async def test_a_port_that_only_answers_itself_is_refused() -> None:
    """The kernel may choose the probed port for our own end: the socket is then connected to itself."""
    with socket.create_server((CONTAINER, 0)) as once:
        port = once.getsockname()[1]

    async def open_there(family: socket.AddressFamily) -> socket.socket:
        sock = await open_here(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((CONTAINER, port))
        return sock

    with pytest.raises(ProbeError, match="connect: connection refused"):
        await probe.tcp_check(CONTAINER, port, 5.0, open_there)


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("HTTP/1.1 200 OK\r\n" + "a:\r\n" * 20_000, False),
        ("HTTP/1.1 100 Continue\r\n\r\n" * 20_000, False),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + "1\r\na\r\n" * 100_000, True),
        ("HTTP/1.1 200 OK\r\n\r\n" + "a" * 20_000_000, True),
    ],
    ids=["many headers", "many heads", "many chunks", "a long body"],
)
async def test_an_answer_is_read_up_to_a_bound(
    answer: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app that answers without end kept the agent busy until the check's time was over."""
    read = 0
    taken = asyncio.StreamReader.read

    async def counted(self: asyncio.StreamReader, n: int = -1) -> bytes:
        nonlocal read
        data = await taken(self, n)
        read += len(data)
        return data

    async with app(answer=answer) as endless:
        monkeypatch.setattr(asyncio.StreamReader, "read", counted)
        if passes:
            await by_probe(CONTAINER, endless.port, timeout=60.0)
        else:
            with pytest.raises(ProbeError) as failed:
                await by_probe(CONTAINER, endless.port, timeout=60.0)
            assert failed.value.exit_code == HTTP_ERROR
    assert read <= probe.MAX_ANSWER_BYTES + (1 << 16)


@pytest.mark.parametrize("location", ["ftp://127.0.0.2/", "http://", "http://%zz/", "https:///x"])
async def test_redirects_that_lead_nowhere(location: str, check: Check) -> None:
    async with app(answer=redirect(location)) as lost:
        with pytest.raises(ProbeError) as failed:
            await check(CONTAINER, lost.port)
        assert failed.value.exit_code == HTTP_ERROR


async def test_the_eleventh_request_is_not_made(check: Check) -> None:
    async with app(answer=redirect("/again")) as circle:
        with pytest.raises(ProbeError) as failed:
            await check(CONTAINER, circle.port)
        assert failed.value.exit_code == HTTP_ERROR
        assert len(circle.heads) == 10


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (redirect(""), HTTP_STATUS),
        ("HTTP/1.1 200 OK\r\nA: " + "b" * 12_000_000, HTTP_ERROR),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n", HTTP_ERROR),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut", None),
    ],
    ids=["no location", "endless head", "odd length", "broken chunks", "cut off"],
)
async def test_answers_that_are_odd(answer: str, code: int | None, check: Check) -> None:
    async with app(answer=answer) as odd:
        if code is None:
            await check(CONTAINER, odd.port)
        else:
            with pytest.raises(ProbeError) as failed:
                await check(CONTAINER, odd.port)
            assert failed.value.exit_code == code
