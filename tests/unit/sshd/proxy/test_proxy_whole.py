"""``cell ssh-proxy`` as deployed, from its first log record to its last."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yarl

from sshd.proxy.health import MAX_CONNECTIONS, health_server
from tests.support.waiting import PATIENCE_S
from tests.unit.sshd.proxy.whole import Whole
from tests.unit.sshd.proxy.whole import many_descriptors as many_descriptors
from tests.unit.sshd.proxy.whole import whole as whole

pytestmark = pytest.mark.unit


async def visit(whole: Whole, stock: Any, loggregator_agent: Any) -> None:
    """A command through the program, reported in the app's log stream."""
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


async def test_health_is_told_by_any_name(health_url: str) -> None:
    """As load balancers do."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(health_url, headers={"Host": "ssh.example.com"}) as answer,
    ):
        assert answer.status == 200


async def test_health_is_told_beside_connections_that_ask_nothing(health_url: str) -> None:
    url = yarl.URL(health_url)
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection((url.host, url.port), 10))
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200


@pytest.fixture
async def health_url() -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with health_server(listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_the_program_serves_visits_and_ends_in_order(
    whole: Whole, stock: Any, loggregator_agent: Any
) -> None:
    async with aiohttp.ClientSession() as session, session.get(whole.health) as answer:
        assert answer.status == 200
    await visit(whole, stock, loggregator_agent)
    unknown = await stock.run(*stock.ssh(whole, user="diego:nobody/0"), "true")
    assert (unknown.status, b"Permission denied" in unknown.err) == (255, True)
    visitor = await stock.start(*stock.ssh(whole), "echo in; sleep 60")
    assert visitor.stdout is not None
    assert await visitor.stdout.readline() == b"in\n"
    async with aiohttp.ClientSession() as session, session.get(whole.metrics) as answer:
        scraped = (await answer.text()).splitlines()
    assert "diego_ssh_proxy_sessions 1.0" in scraped
    assert "diego_ssh_proxy_clients 1.0" in scraped
    assert 'diego_ssh_proxy_logins_total{result="accepted"} 2.0' in scraped
    assert 'diego_ssh_proxy_logins_total{result="refused"} 1.0' in scraped
    assert "diego_ssh_proxy_unreachable_instances_total 0.0" in scraped
    whole.process.send_signal(signal.SIGTERM)
    assert whole.process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        records = [json.loads(line) for line in (await whole.process.stdout.read()).splitlines()]
        assert await whole.process.wait() == 0
        await visitor.communicate()
    assert visitor.returncode == 255
    ended = b"Remote access ended for"  # the visit is logged although the proxy is ending
    await loggregator_agent.until(
        lambda seen: any(each.log.payload.startswith(ended) for each in seen if each.HasField("log"))
    )
    messages = [record["message"] for record in records]
    assert messages[0] == "ssh-proxy.started"
    assert messages[-2:] == ["ssh-proxy.server.stopping-server", "ssh-proxy.exited"]
