"""Access to the rep's listeners: plain HTTP on loopback only, other sites refused, no request breaks it."""

from __future__ import annotations

import asyncio
import json
import logging
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from bbs.client.api import BBSClient
from bbs.models.actual_lrp import ActualLRPKey
from executor.model import Container, ContainerState, Resources
from rep import tags
from rep.agent import RepAgent, rep_url
from rep.config import InvalidConfig, RepConfig, parse, validate
from rep.debug import debug_application
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.server import AdminRoutes, NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.journals import FailingJournal
from tests.support.outcomes import idle_courier
from tests.support.rep_doubles import FakeExecutor, FakeLocket, ScriptedBBS

pytestmark = pytest.mark.unit

PLAIN = {
    "cell_id": "cell-1",
    "zone": "z1",
    "bbs_address": "http://127.0.0.1:1",
    "locket_address": "127.0.0.1:2",
}
GUID = "11111111-2222-3333-4444-5555"


def plain(**values: Any) -> RepConfig:
    return parse(json.dumps({**PLAIN, **values}))


# -- where a plain rep listens ---------------------------------------------------------------------------


def test_a_rep_without_certificates_listens_on_loopback_unless_told_otherwise() -> None:
    """It served /work on 0.0.0.0 to clients without a certificate."""
    config = plain()
    validate(config)
    assert config.listen_addr_securable == "127.0.0.1:1801"
    assert rep_url(config) == "http://127.0.0.1:1801"


@pytest.mark.parametrize("key", ["listen_addr", "listen_addr_securable"])
@pytest.mark.parametrize("address", ["0.0.0.0:1801", ":1801", "[::]:1801", "192.0.2.1:1801", "host:1801"])
def test_a_rep_without_certificates_refuses_to_listen_beyond(key: str, address: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        validate(plain(**{key: address}))
    said = str(raised.value)
    assert f"{key} is {address!r}" in said
    assert "use 127.0.0.1:1801, or give ca_cert_file, cert_file and key_file" in said


@pytest.mark.parametrize("address", ["127.0.0.1:5", "127.1.2.3:5", "localhost:5", "[::1]:5"])
def test_loopback_has_several_addresses(address: str) -> None:
    validate(plain(listen_addr_securable=address, listen_addr=address))


def test_certificates_open_it_to_the_network() -> None:
    files = dict.fromkeys(("ca_cert_file", "cert_file", "key_file"), "/x.pem")
    for url in ("http://127.0.0.1:1", "https://bbs:8889"):
        config = plain(**files, bbs_address=url)
        validate(config)
        assert config.listen_addr_securable == "0.0.0.0:1801"


def test_a_plain_rep_does_not_register_an_https_url() -> None:
    with pytest.raises(InvalidConfig, match="rep_url is 'https://cell:1801', but without certificates"):
        validate(plain(rep_url="https://cell:1801"))


@pytest.mark.parametrize("key", ["listen_addr", "listen_addr_securable", "debug_address"])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_without_a_port_is_named(key: str, address: str) -> None:
    with pytest.raises(InvalidConfig, match=key):
        validate(plain(**{key: address}))


# -- pages of other sites --------------------------------------------------------------------------------

STRANGERS: list[dict[str, str]] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Host": "rebound.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
]


@asynccontextmanager
async def running(executor: FakeExecutor, **values: Any) -> AsyncIterator[RepAgent]:
    addresses = dict.fromkeys(("listen_addr", "listen_addr_securable", "debug_address"), "127.0.0.1:0")
    config = plain(**addresses, **values)
    agent = RepAgent(config, executor, cast(BBSClient, ScriptedBBS()), FakeLocket(), FailingJournal())
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run())
        await agent.ready.wait()
        try:
            yield agent
        finally:
            agent.stop()


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor(Resources(memory_mb=100, disk_mb=100, containers=9))


async def test_no_page_of_another_site_reaches_any_listener_of_a_plain_rep(executor: FakeExecutor) -> None:
    """Any page that a developer opened could evacuate the cell, or have containers run."""
    work = {"Tasks": [{"TaskGuid": "t", "Domain": "d", "RootFs": "docker:///x"}]}
    level = logging.getLogger().level
    async with running(executor) as agent, aiohttp.ClientSession() as session:
        sides = agent.listeners
        assert sides.debug is not None
        for address, path, body in (
            (sides.network, "/work", json.dumps(work)),
            (sides.admin, "/evacuate", ""),
            (sides.debug, "/log-level", "fatal"),
        ):
            url = f"http://127.0.0.1:{address.port}{path}"
            for headers in STRANGERS:
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 403, (path, headers)
        assert (executor.store, bool(agent.evacuation)) == ({}, False)
        assert logging.getLogger().level == level


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "cell-1.internal"])
async def test_programs_are_served_by_address_and_by_the_registered_name(
    executor: FakeExecutor, host: str
) -> None:
    async with (
        running(executor, rep_url="http://Cell-1.internal:1801") as agent,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{agent.listeners.network.port}/state"
        async with session.get(url, headers={"Host": f"{host}:1801"}) as answer:
            assert answer.status == 200


# -- no request breaks it --------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    [
        "LRPs",
        "Tasks",
        "cell_id",
        "TaskGuid",
        "Domain",
        "RootFs",
        "MemoryMB",
        "process_guid",
        "index",
        "domain",
        "state",
        "PlacementTags",
        "internal_routes",
        "metric_tags",
        "hostname",
    ]
)
documents = st.recursive(
    json_values,
    lambda inner: st.dictionaries(keys, inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=20,
)
bodies = st.binary(max_size=200) | documents.map(lambda value: json.dumps(value).encode())
guids = st.text(string.ascii_letters + "-_", min_size=1, max_size=30) | st.sampled_from(
    [GUID, "%2Fetc", "..", "%00", "%FF", "a%0Ab", "a" * 400]
)
paths = st.one_of(
    st.sampled_from(
        ["/work", "/state", "/container_metrics", "/sim/reset", "/ping", "/evacuate", "/log-level"]
    ),
    st.builds("/v1/lrps/{}/instances/{}/stop".format, guids, guids),
    st.builds("/v2/lrps/{}/instances/{}".format, guids, guids),
    st.builds("/v1/tasks/{}/cancel".format, guids),
    st.text(string.ascii_letters + "/-_.%20", max_size=30).map("/".__add__),
)
headers = st.dictionaries(
    st.sampled_from(["X-Vcap-Request-Id", "Content-Type", "Content-Encoding", "Accept", "Expect", "Range"]),
    st.text(string.printable[:95], max_size=40),
    max_size=3,
)

EXPECTED_500 = ("/sim/reset", "/stop", "/lrps/")
"""A container that is not there, and a simulation that is none, are answered 500 by the protocol."""


def one_container() -> Container:
    key = ActualLRPKey(process_guid="web", index=0, domain="apps")
    return Container(
        guid=GUID, state=ContainerState.RUNNING, tags=tags.lrp_tags(key, GUID, None, None), external_ip="::1"
    )


@pytest.fixture
async def sides(executor: FakeExecutor) -> AsyncIterator[list[str]]:
    """URLs of the three listeners of a rep."""
    identity = CellIdentity(config=RepConfig(cell_id="cell-1"), rep_url="", stacks=StackMap({}))
    deletions = Deletions(executor, Removals())
    courier = idle_courier()
    network = NetworkRoutes(identity, executor, EvacuationFlag(), deletions, RequestMetrics(), courier.ledger)
    applications = (
        network.application(),
        AdminRoutes(EvacuationFlag(), courier).application(),
        debug_application(),
    )
    async with (
        deletions.open(),
        listening(applications[0], "127.0.0.1:0", None) as first,
        listening(applications[1], "127.0.0.1:0", None) as second,
        listening(applications[2], "127.0.0.1:0", None) as third,
    ):
        yield [f"http://127.0.0.1:{address.port}" for address in (first, second, third)]


async def test_no_request_makes_the_rep_fail(
    sides: list[str], executor: FakeExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """No answer but those of the protocol, and no trace in the log, whatever is sent."""
    asked: list[tuple[str, str, bytes, dict[str, str]]] = []

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]), paths, bodies, headers)
    def collect(method: str, path: str, body: bytes, sent: dict[str, str]) -> None:
        asked.append((method, path, body, sent))

    collect()
    executor.put(one_container())
    answered = 0
    async with aiohttp.ClientSession() as session:
        for method, path, body, sent in asked:
            for side in sides:
                url = URL(side + path, encoded=True)
                try:
                    async with session.request(method, url, data=body, headers=sent) as answer:
                        status = answer.status
                        answered += 1
                except aiohttp.ClientError:
                    continue  # no request, so the connection was closed
                executor.put(one_container())
                expected = any(part in path for part in EXPECTED_500) or b"cell_id" in body
                assert status < 500 or expected, (method, path, body, sent, status)
        async with session.get(sides[0] + "/state") as answer:
            assert answer.status == 200
    assert [record for record in caplog.records if record.exc_info] == []
    assert answered > len(asked), "most of what was sent are requests"
