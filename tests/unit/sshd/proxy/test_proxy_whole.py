"""``cell ssh-proxy`` as deployed: a process with its configuration file, a BBS and a log agent behind TLS."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.actions import RunAction
from bbs.serving.address import Address
from cell.certs import development_identities
from cell.freeport import free_port

pytestmark = pytest.mark.unit

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)

PASSWORD = "s3cret"
STRANGERS = 1000
"""What each program has to bear."""
MEGABYTE_KB = 1024


def rss_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


@pytest.fixture(scope="module")
def many_descriptors() -> Iterator[None]:
    """For us and what we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Whole:
    """A running program. ``port`` and ``health`` are its addresses."""

    process: asyncio.subprocess.Process
    port: int
    health: str
    client: HTTPBBSClient


@asynccontextmanager
async def program(config: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs until the context ends; listens when it begins."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cell", "ssh-proxy", "-config", str(config)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    assert running.returncode is None, "it ended instead of listening"
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        assert running.stdout is not None
        await running.stdout.read()
        await running.wait()


@pytest.fixture
async def whole(
    many_descriptors: None,
    tmp_path: Path,
    keys: Any,
    daemon: Any,
    instance: Any,
    process: Any,
    loggregator_agent: Any,
    loggregator_identities: Any,
) -> AsyncIterator[Whole]:
    identities = development_identities(tmp_path / "tls")
    agent, agent_client = loggregator_identities
    async with AsyncExitStack() as stack:
        plane = ControlPlane(
            PlaneConfig(state_dir=tmp_path / "plane", addresses=EVERYWHERE, tls=identities["control-plane"])
        )
        await stack.enter_async_context(plane)
        agent_port = await stack.enter_async_context(loggregator_agent.listening(identity=agent))
        identity = Identity(identities["client"])
        client = await stack.enter_async_context(
            HTTPBBSClient(plane.bbs_url, ssl_context=identity.client_context())
        )
        desired = process()
        await client.desire_lrp(
            replace(
                desired,
                domain="cf-apps",
                instances=1,
                root_fs="preloaded:any",
                action=RunAction(path="true", user="vcap"),
                ports=(2222,),
            )
        )
        lrp = instance(daemon.port)
        await client.start_actual_lrp(
            replace(lrp.actual_lrp_key, domain="cf-apps"),
            replace(lrp.actual_lrp_instance_key, cell_id="cell"),
            lrp.actual_lrp_net_info,
        )
        port, health_port = free_port(), free_port()
        document = {
            "address": f"127.0.0.1:{port}",
            "health_check_address": f"127.0.0.1:{health_port}",
            "host_key": keys.host["rsa"],
            "bbs_address": plane.bbs_url,
            "bbs_ca_cert": str(identities["client"].ca_file),
            "bbs_client_cert": str(identities["client"].cert_file),
            "bbs_client_key": str(identities["client"].key_file),
            "enable_diego_auth": True,
            "diego_credentials": PASSWORD,
            "idle_connection_timeout": "5m",
            "log_level": "info",
            "loggregator": {
                "loggregator_use_v2_api": True,
                "loggregator_api_port": agent_port,
                "loggregator_ca_path": str(agent_client.ca_file),
                "loggregator_cert_path": str(agent_client.cert_file),
                "loggregator_key_path": str(agent_client.key_file),
                "loggregator_instance_id": "proxy-0",
            },
        }
        (tmp_path / "ssh_proxy.json").write_text(json.dumps(document))
        running = await stack.enter_async_context(program(tmp_path / "ssh_proxy.json", port))
        yield Whole(running, port, f"http://127.0.0.1:{health_port}", client)


async def test_a_visit_is_told_in_the_apps_own_stream(
    whole: Whole, stock: Any, loggregator_agent: Any
) -> None:
    done = await stock.run(*stock.ssh(whole), "echo in; exit 5")
    assert (done.status, done.out) == (5, b"in\n")
    await loggregator_agent.until(
        lambda seen: (
            sum(each.HasField("log") for each in seen) >= 2
            and any(
                each.gauge.metrics["ssh-connections"].value == 1 for each in seen if each.HasField("gauge")
            )
        )
    )
    visits = [each for each in loggregator_agent.envelopes if each.HasField("log")]
    texts = [each.log.payload.decode().rpartition(" ") for each in visits]
    assert [text for text, _, _ in texts] == ["Successful remote access by", "Remote access ended for"]
    (peer,) = {peer for _, _, peer in texts}
    assert peer.startswith("127.0.0.1:")
    for each in visits:
        assert (each.source_id, each.instance_id) == ("app", "0")
        assert dict(each.tags) == {
            "source_type": "SSH",
            "origin": "ssh-proxy",
            "source_id": "app",
            "instance_id": "0",
            "index": "0",
            "org": "o",
        }
    gauges = [each for each in loggregator_agent.envelopes if each.HasField("gauge")]
    assert {each.source_id for each in gauges} == {"ssh-proxy"}
    assert {each.instance_id for each in gauges} == {"proxy-0"}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 200, None),
        ("HEAD", "/", 405, "GET"),
        ("POST", "/", 405, "GET"),
        ("DELETE", "/", 405, "GET"),
        ("GET", "/health", 404, None),
        ("POST", "/other", 404, None),
    ],
)
async def test_health(method: str, path: str, status: int, allow: str | None, health_url: str) -> None:
    async with aiohttp.ClientSession() as session, session.request(method, health_url + path) as answer:
        assert (answer.status, answer.headers.get("Allow")) == (status, allow)
        if status == 200:
            assert await answer.read() == b""


@pytest.fixture
async def health_url() -> AsyncIterator[str]:
    from sshd.proxy.health import health_server

    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with health_server(listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_the_program_is_healthy_and_ends_in_order(
    whole: Whole, stock: Any, loggregator_agent: Any
) -> None:
    async with aiohttp.ClientSession() as session, session.get(whole.health) as answer:
        assert answer.status == 200
    unknown = await stock.run(*stock.ssh(whole, user="diego:nobody/0"), "true")
    assert (unknown.status, b"Permission denied" in unknown.err) == (255, True)
    visitor = await stock.start(*stock.ssh(whole), "echo in; sleep 60")
    assert visitor.stdout is not None
    assert await visitor.stdout.readline() == b"in\n"
    whole.process.send_signal(signal.SIGTERM)
    assert whole.process.stdout is not None
    async with asyncio.timeout(20):
        records = [json.loads(line) for line in (await whole.process.stdout.read()).splitlines()]
        assert await whole.process.wait() == 0
        await visitor.communicate()
    assert visitor.returncode == 255
    ended = b"Remote access ended for"  # the visit, told although the proxy itself is ending
    await loggregator_agent.until(
        lambda seen: any(each.log.payload.startswith(ended) for each in seen if each.HasField("log"))
    )
    messages = [record["message"] for record in records]
    assert messages[0] == "ssh-proxy.started"
    assert messages[-2:] == ["ssh-proxy.server.stopping-server", "ssh-proxy.exited"]


async def test_a_thousand_clients_that_never_authenticate(whole: Whole, stock: Any) -> None:
    """They keep nobody out, the memory they take is bounded, and nothing of them is left."""
    ends = []
    try:
        for _ in range(STRANGERS + 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", whole.port)
            ends.append((reader, writer))
            assert (await reader.readline()).startswith(b"SSH-2.0-diego-ssh-proxy")
        assert rss_kb(whole.process.pid) < 400 * MEGABYTE_KB
        assert (await stock.run(*stock.ssh(whole), "exit 5")).status == 5
        assert len(clients_of(whole)) <= STRANGERS + 1  # the last one may be leaving
    finally:
        for _, writer in ends:
            writer.transport.abort()
    assert (await stock.run(*stock.ssh(whole), "exit 5")).status == 5
    async with asyncio.timeout(60):
        while clients_of(whole):
            await asyncio.to_thread(time.sleep, 0.02)


def clients_of(whole: Whole) -> list[Any]:
    """Open connections of the program's clients; it has others, to the BBS and the log agent."""
    return [
        each
        for each in psutil.Process(whole.process.pid).net_connections(kind="tcp")
        if each.laddr.port == whole.port and each.raddr
    ]
