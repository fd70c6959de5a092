"""Egress of containers: real packets between network namespaces and an outside machine."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bbs.models.workload import ICMPInfo, PortRange, SecurityGroupRule
from executor.network.actualtable import parse
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig
from executor.network.sysctl import set_sysctl
from tests.docker.network_lab import (
    HERE,
    OK,
    PROBE,
    REFUSED,
    Heard,
    OpenBox,
    Outside,
    ask,
    box_in,
    ip,
    network_of,
)
from tests.docker.network_lab import box as box
from tests.docker.network_lab import config as config
from tests.docker.network_lab import heard as heard
from tests.docker.network_lab import network as network
from tests.docker.network_lab import output as output
from tests.docker.network_lab import outside as outside
from tests.docker.network_lab import rule as rule
from tests.docker.network_lab import started as started

pytestmark = pytest.mark.docker


async def test_without_rules_denied_networks_are_denied_and_others_are_not(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    async with box("g1") as one:
        assert await one.ask("tcp", outside.address, 80) == REFUSED
        assert await one.ask("udp", outside.address, 53) == REFUSED
        assert not await one.ping(outside.address)
    await network.stop()
    async with (
        network_of(replace(config, denied_networks=())) as open_to_all,
        box_in(open_to_all, config, "g2") as two,
    ):
        assert await two.ask("tcp", outside.address, 80) == OK
        assert await two.ask("udp", outside.address, 53) == OK
        assert await two.ping(outside.address)
        assert await two.ask("tcp", outside.host, 80) == REFUSED  # this host itself


async def test_rules_open_what_they_name(box: OpenBox, outside: Outside) -> None:
    there = outside.address
    around = f"{there.rpartition('.')[0]}.0-{there}"
    cases: list[tuple[SecurityGroupRule, set[object]]] = [
        (rule("tcp", there, ports=(80, 8080)), {80, 8080}),
        (rule("tcp", f"192.0.2.1,{there}/30", port_range=PortRange(start=80, end=81)), {80, 81}),
        (rule("tcp", around, port_range=PortRange(start=81, end=65535)), {81, 8080}),
        (rule("udp", there, ports=(53,)), {"53"}),
        (rule("icmp", there, icmp_info=ICMPInfo(type=8, code=0)), {"ping"}),
        (rule("icmp", there, icmp_info=ICMPInfo(type=-1, code=-1)), {"ping"}),
        (rule("icmp", there, icmp_info=ICMPInfo(type=13, code=0)), set()),
        (rule("all", "10.0.0.0/8"), {80, 81, 8080, "53", "54", "ping"}),
        (rule("tcp", "192.0.2.1", ports=(80,)), set()),
    ]

    async def reached(number: int, given: SecurityGroupRule) -> set[object]:
        async with box(f"g{number}", [given]) as one:
            tcp = {port for port in (80, 81, 8080) if await one.ask("tcp", there, port) == OK}
            udp = {str(port) for port in (53, 54) if await one.ask("udp", there, port) == OK}
            return tcp | udp | ({"ping"} if await one.ping(there) else set())

    found = await asyncio.gather(*(reached(number, given) for number, (given, _) in enumerate(cases)))
    assert found == [expected for _, expected in cases]


async def test_rules_change_under_a_connection_that_goes_on(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    everything = [rule("all", "10.0.0.0/8")]
    async with box("g1", everything) as one, box("g2", everything) as two:
        talk = (sys.executable, str(PROBE), "talk", "tcp", outside.address, "80")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*one.enter, *talk, stdin=pipe, stdout=pipe)

        async def goes_on() -> bool:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"still here\n")
            async with asyncio.timeout(20):
                return (await process.stdout.readline()).endswith(b"still here\n")

        assert await goes_on()
        for number in range(3):
            await network.attach(one.container, {}, [rule("tcp", "192.0.2.1", ports=(80 + number,))])
            assert await goes_on()
            assert await one.ask("tcp", outside.address, 80) == REFUSED
        assert await two.ask("tcp", outside.address, 80) == OK  # which had the same rules
        await network.attach(one.container, {}, everything)
        assert await one.ask("tcp", outside.address, 80) == OK
        await process.communicate(b"")
        _, text = await output("nft", "-n", "-j", "list", "table", "inet", config.table)
        assert len([name for name in parse(text).chains if name.startswith("egress_")]) == 1


async def test_mapped_ports_of_this_host_need_a_rule_too(
    box: OpenBox, outside: Outside, network: CellNetwork
) -> None:
    port, other = network.reserve("g1", 2)
    own = rule("tcp", outside.host, ports=(port,))
    async with (
        box("g1", [own], {port: 7000, other: 7000}) as one,
        box("g2", [own]) as two,
        box("g3") as three,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        assert await ask(HERE, "tcp", "127.0.0.1", port) == OK
        assert await ask(HERE, "tcp", outside.host, port) == OK
        remote = f"/run/netns/{outside.space}"
        assert await ask(remote, "tcp", outside.host, port) == OK
        assert await one.ask("tcp", outside.host, port) == OK
        assert await two.ask("tcp", outside.host, port) == OK
        assert await two.ask("tcp", outside.host, other) == REFUSED
        assert await three.ask("tcp", outside.host, port) == REFUSED
        assert await two.ask("tcp", one.container.address, 7000) == REFUSED
        assert not await two.ping(one.container.address)


async def test_nobody_gets_in_or_out_with_the_address_of_another(
    box: OpenBox, outside: Outside, config: NetworkConfig
) -> None:
    everything = [rule("all", "0.0.0.0/0")]
    async with box("g1", everything) as one, box("g2") as two:
        mine = one.container.address
        await output(*two.enter, "ip", "addr", "add", f"{mine}/32", "dev", "eth0")
        script = f"import socket; s = socket.create_connection(('{outside.address}', 80), 1, ('{mine}', 0))"
        status, text = await output(*two.enter, sys.executable, "-c", script)
        assert status == 1
        assert "TimeoutError" in text or "refused" in text
        ip("-n", outside.space, "route", "add", config.subnet, "via", outside.host)
        async with started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"):
            remote = f"/run/netns/{outside.space}"
            assert await ask(remote, "tcp", mine, 7000) == "silence"


DATAGRAM = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('{}', {})); "


@pytest.mark.parametrize("strictness", ["0", "1", "2"])
async def test_an_address_of_another_is_found_out_whatever_the_host_makes_of_rp_filter(
    box: OpenBox, outside: Outside, config: NetworkConfig, strictness: str
) -> None:
    """Distributions and administrators set it, for interfaces that exist and for those to come."""
    everything = [rule("all", "0.0.0.0/0")]
    async with box("g1", everything) as one, box("g2", everything) as two:
        mine, link = one.container.address, config.port_name(IPv4Address(two.container.address))
        set_sysctl(f"net/ipv4/conf/{link}/rp_filter", strictness)
        assert await two.ask("udp", outside.address, 53) == OK  # from now on it knows the gateway
        await output(*two.enter, "ip", "addr", "add", f"{mine}/32", "dev", "eth0")
        receive = DATAGRAM.format("", 7000) + (
            "print('ready', flush=True); print(s.recv(99).decode(), flush=True); s.recv(99)"
        )
        async with started("ip", "netns", "exec", outside.space, sys.executable, "-c", receive) as receiver:
            for sender, text in ((two, "forged"), (one, "honest")):
                send = DATAGRAM.format(mine, 0) + f"s.sendto(b'{text}', ('{outside.address}', 7000))"
                assert await output(*sender.enter, sys.executable, "-c", send) == (0, "")
            assert receiver.stdout is not None
            async with asyncio.timeout(20):
                assert await receiver.stdout.readline() == b"honest\n"


async def test_connections_are_logged_where_the_rule_says_so(
    box: OpenBox, outside: Outside, heard: Heard
) -> None:
    rules = [
        rule("tcp", outside.address, ports=(80,), log=True),
        rule("tcp", outside.address, ports=(81,)),
    ]
    async with box("instance", rules) as one:
        assert await one.ask("tcp", outside.address, 81) == OK
        assert await one.ask("tcp", outside.address, 80) == OK
        async with asyncio.timeout(10):
            await heard.any.wait()
    (record,) = heard.records
    assert record.message == "egress-connection-allowed"
    assert vars(record)["data"] == {
        "guid": "instance",
        "source": one.container.address,
        "destination": outside.address,
        "protocol": "tcp",
        "port": 80,
    }


TAMPERINGS = {
    "the table": ("packet table", "delete table inet {table}"),
    "a rule before ours": ("base chains", "insert rule inet {table} egress accept"),
    "no rule of ours": ("base chains", "flush chain inet {table} judge"),
    "a port": ("host ports", "flush map inet {table} ports"),
    "the rules of a container": ("ways to the rules of containers", "flush map inet {table} containers"),
    "a destination more": (
        "destinations of rules",
        "add element inet {table} {set} {{ 10.0.0.0/9 . tcp . 1 }}",
    ),
}


@pytest.mark.parametrize("case", TAMPERINGS)
async def test_what_others_change_is_put_right(
    case: str,
    box: OpenBox,
    outside: Outside,
    network: CellNetwork,
    config: NetworkConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, statement = TAMPERINGS[case]
    (port,) = network.reserve("g1", 1)
    async with box("g1", [rule("tcp", outside.address, ports=(80,))], {port: 7000}) as one:
        await network.verify()
        assert caplog.records == []
        _, text = await output("nft", "-n", "-j", "list", "table", "inet", config.table)
        (elements,) = parse(text).sets
        status, text = await output("nft", statement.format(table=config.table, set=elements))
        assert (status, text) == (0, "")
        await network.verify()
        (record,) = caplog.records
        assert record.message == "network-was-changed-by-others"
        assert vars(record)["data"]["repaired"] == [name]
        assert await one.ask("tcp", outside.address, 80) == OK
        assert await one.ask("tcp", outside.address, 81) == REFUSED
        await network.verify()
        assert len(caplog.records) == 1


async def test_an_interface_that_others_remove_comes_back(
    box: OpenBox,
    outside: Outside,
    network: CellNetwork,
    config: NetworkConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with box("g1", [rule("tcp", outside.address, ports=(80,))]) as one:
        ip("link", "del", config.name)
        assert await one.ask("tcp", outside.address, 80) != OK
        await network.verify()
        assert await one.ask("tcp", outside.address, 80) == OK
    (record,) = caplog.records
    assert vars(record)["data"]["repaired"] == ["interface"]


async def test_a_connection_of_a_container_that_is_gone_is_forgotten(
    box: OpenBox, network: CellNetwork, outside: Outside
) -> None:
    (port,) = network.reserve("g1", 1)
    async with (
        box("g1", [rule("udp", outside.address, ports=(53,))], {port: 7000}) as one,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        assert await one.ask("udp", outside.address, 53) == OK
        assert await ask(HERE, "tcp", "127.0.0.1", port) == OK
        address = one.container.address
        assert address in Path("/proc/net/nf_conntrack").read_text()
    assert f"={address} " not in Path("/proc/net/nf_conntrack").read_text()


async def test_the_command_shows_what_is_in_force(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    command = (sys.executable, "-m", "cell", "network", "--table", config.table)
    (port,) = network.reserve("instance-1", 1)
    web = rule("tcp", outside.address, ports=(80,), log=True)
    async with box("instance-1", [web], {port: 7000}) as one, box("instance-2"):
        assert await one.ask("tcp", outside.address, 80) == OK
        assert await one.ask("tcp", outside.address, 81) == REFUSED
        status, text = await output(*command)
        address = one.container.address
        assert (status, len(text.splitlines())) == (0, 3)
        assert text.splitlines()[1].split() == ["instance-1", address, f"{port}->7000", "1", "1"]
        status, text = await output(*command, "instance-1")
        lines = text.splitlines()
        assert (status, lines[1].split(), lines[5].split()) == (
            0,
            ["address", address],
            ["refused", "1", "packets"],
        )
        assert lines[2].split() == ["ipv6", one.ipv6]
        assert lines[-1].split() == ["tcp", outside.address, "port", "80", "1", "logged"]
        assert (await output(*command, "nobody"))[0] == 1
    assert await output(*command[:-1], "none") == (1, "cell network: there is no packet table none")


async def test_bandwidth_is_limited_both_ways(outside: Outside, config: NetworkConfig) -> None:
    """A megabyte each way at half a megabyte per second, less what may go at once."""
    slow = replace(config, denied_networks=(), bandwidth_in=500_000, bandwidth_out=500_000)
    remote = ("ip", "netns", "exec", outside.space, "/bin/busybox", "nc", "-ll")
    down = (*remote, "-p", "9100", "-e", "/bin/busybox", "head", "-c", "1000000", "/dev/zero")
    up = (*remote, "-p", "9101", "-e", "/bin/busybox", "wc", "-c")
    async with network_of(slow) as network, box_in(network, slow, "g1") as one, running(*down), running(*up):
        for port in (9100, 9101):
            while await one.ask("tcp", outside.address, port) == REFUSED:
                pass
        for script in ("nc {host} 9100 </dev/null | wc -c", "head -c 1000000 /dev/zero | nc {host} 9101"):
            command = script.format(host=outside.address).replace("nc ", "/bin/busybox nc ")
            began = time.monotonic()
            assert await output(*one.enter, "/bin/sh", "-c", command) == (0, "1000000")
            assert 1.0 < time.monotonic() - began < 10


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


SCRIPT = """
import asyncio, json, logging, subprocess, sys
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig

async def main():
    network = CellNetwork(NetworkConfig(name="alone", table="alone", subnet="10.9.0.0/24"))
    await network.start()
    tables = [subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout]
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    tables.append(subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout)
    await network.verify()
    tables.append(subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout)
    await network.stop()
    tables.append(subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout)
    print(json.dumps(tables))

asyncio.run(main())
"""


async def test_a_flush_of_all_packet_rules_is_repaired(unique: str) -> None:
    """In a network namespace of its own: here it would take the engine's rules along."""
    ip("netns", "add", unique)
    try:
        status, text = await output("ip", "netns", "exec", unique, sys.executable, "-c", SCRIPT)
    finally:
        ip("netns", "del", unique)
    assert status == 0, text
    before, flushed, repaired, stopped = json.loads(text.splitlines()[-1])
    assert before == repaired != ""
    assert flushed == stopped == ""
