"""TLS to the instance: accepted certificates, and use of the plain address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cell.development.certs import Authority
from sshd.proxy.config import parse
from sshd.proxy.startup import backend_context

pytestmark = pytest.mark.unit

GUID = "instance"


@pytest.fixture(scope="module")
def candidate() -> Authority:
    return Authority.create("somebody else")


class Terminator:
    """The proxy of an instance: takes off the TLS in front of its daemon."""

    def __init__(self) -> None:
        self.port = 0
        self.handshakes = 0
        self.clients: list[str] = []


OpenTerminator = Callable[..., AbstractAsyncContextManager[Terminator]]


@pytest.fixture
def terminator(daemon: Any, tmp_path: Path) -> OpenTerminator:
    @asynccontextmanager
    async def opened(
        issuer: Authority, name: str = GUID, clients_of: Authority | None = None
    ) -> AsyncIterator[Terminator]:
        files = issuer.issue(tmp_path / "server", "server", names=[x509.DNSName(name)])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert_file, files.key_file)
        if clients_of is not None:
            trusted = clients_of.issue(tmp_path / "trusted", "trusted")
            context.load_verify_locations(trusted.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        this = Terminator()

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except (ConnectionError, ssl.SSLError):
                pass  # the other direction ends the same way
            finally:
                sink.close()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            this.handshakes += 1
            certificate = writer.get_extra_info("peercert") or {}
            this.clients += [value for part in certificate.get("subject", ()) for _, value in part]
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            this.port = server.sockets[0].getsockname()[1]
            yield this

    return opened


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """What the configuration makes of trusting ``authority``, with an identity of our own if asked."""

    def make(identity: bool = False) -> ssl.SSLContext:
        files = authority.issue(tmp_path / "proxy", "ssh-proxy")
        document = {
            "log_level": "fatal",
            "backends_tls_enabled": True,
            "backends_tls_ca_certificates": str(files.ca_file),
        }
        if identity:
            document["backends_tls_client_certificate"] = str(files.cert_file)
            document["backends_tls_client_private_key"] = str(files.key_file)
        context = backend_context(parse(document))
        assert context is not None
        return context

    return make


async def test_the_instances_own_name(
    terminator: OpenTerminator,
    trusting: Any,
    authority: Authority,
    open_proxy: Any,
    stock: Any,
    instance: Any,
) -> None:
    async with terminator(authority) as front, open_proxy(1, backend_tls=trusting()) as running:
        running.table.lrps = [instance(1, host_tls_proxy_port=front.port)]  # nothing listens on port 1
        data = bytes(range(256)) * 10_000
        done = await stock.run(*stock.ssh(running), "cat", stdin=data)
        assert (done.status, done.out) == (0, data)
        assert front.handshakes == 1


async def test_the_proxy_has_an_identity(
    terminator: OpenTerminator,
    trusting: Any,
    authority: Authority,
    open_proxy: Any,
    stock: Any,
    instance: Any,
) -> None:
    async with (
        terminator(authority, clients_of=authority) as front,
        open_proxy(1, backend_tls=trusting(identity=True)) as running,
    ):
        running.table.lrps = [instance(1, host_tls_proxy_port=front.port)]
        assert (await stock.run(*stock.ssh(running), "exit 4")).status == 4
        assert "ssh-proxy" in front.clients


@pytest.mark.parametrize(
    ("known", "name", "why"),
    [
        (True, "another-instance", "certificate is not valid for 'instance'"),
        (False, GUID, "unable to get local issuer certificate"),
    ],
    ids=["another name", "another authority"],
)
async def test_who_is_not_the_instance_is_left_for_its_plain_address(
    known: bool,
    name: str,
    why: str,
    terminator: OpenTerminator,
    trusting: Any,
    authority: Authority,
    candidate: Authority,
    open_proxy: Any,
    stock: Any,
    instance: Any,
    daemon: Any,
) -> None:
    async with (
        terminator(authority if known else candidate, name) as front,
        open_proxy(daemon.port, backend_tls=trusting()) as running,
    ):
        running.table.lrps = [instance(daemon.port, host_tls_proxy_port=front.port)]
        assert (await stock.run(*stock.ssh(running), "exit 6")).status == 6
        (error,) = running.log.errors("failed-to-connect-with-tls")
        assert why in str(error)
        running.table.lrps = [instance(0, host_tls_proxy_port=front.port)]
        assert (await stock.run(*stock.ssh(running), "exit 6")).status == 255
        assert running.log.errors("failed-to-reach-instance") == ["the instance has no plain address"]


async def test_no_tls_there_at_all(
    trusting: Any, open_proxy: Any, stock: Any, instance: Any, daemon: Any, port: int
) -> None:
    async with open_proxy(daemon.port, backend_tls=trusting()) as running:
        for tls_port in (daemon.port, port):  # SSH instead of TLS, and nobody
            running.table.lrps = [instance(daemon.port, host_tls_proxy_port=tls_port)]
            assert (await stock.run(*stock.ssh(running), "exit 6")).status == 6
        assert len(running.log.errors("failed-to-connect-with-tls")) == 2


async def test_without_tls_in_the_configuration_the_port_is_not_used(
    open_proxy: Any, stock: Any, instance: Any, daemon: Any
) -> None:
    async with open_proxy(daemon.port) as running:
        running.table.lrps = [instance(daemon.port, host_tls_proxy_port=1)]
        assert (await stock.run(*stock.ssh(running), "exit 6")).status == 6
        assert running.log.errors("failed-to-connect-with-tls") == []


async def test_an_instance_without_tls_is_not_reached_where_tls_is_required(
    terminator: OpenTerminator,
    trusting: Any,
    candidate: Authority,
    open_proxy: Any,
    stock: Any,
    instance: Any,
    daemon: Any,
) -> None:
    """Neither when there is no TLS address nor when its certificate is of another authority."""
    async with (
        terminator(candidate) as front,
        open_proxy(daemon.port, backend_tls=trusting(), backend_tls_required=True) as running,
    ):
        for tls_port, why in ((0, "the instance has no TLS address"), (front.port, "TLS to 127.0.0.1:")):
            running.table.lrps = [instance(daemon.port, host_tls_proxy_port=tls_port)]
            assert (await stock.run(*stock.ssh(running), "exit 6")).status == 255
            assert str(running.log.errors("failed-to-reach-instance")[-1]).startswith(why)
