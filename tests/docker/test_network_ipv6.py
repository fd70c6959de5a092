"""IPv6 of containers: real packets to and from an outside machine."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from bbs.models.workload import ICMPInfo, PortRange, SecurityGroupRule
from executor.network.cell import CellNetwork
from executor.network.config import NO_IPV6, NetworkConfig
from tests.docker.network_lab import (
    HERE,
    OK,
    PROBE,
    REFUSED,
    Box,
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

ANYWHERE = [rule("all", "::/0")]


async def reached(one: Box, there: str) -> set[object]:
    """The ports, by protocol, that answer."""
    tcp = {port for port in (80, 81, 8080) if await one.ask("tcp", there, port) == OK}
    udp = {str(port) for port in (53, 54) if await one.ask("udp", there, port) == OK}
    return tcp | udp | ({"ping"} if await one.ping(there) else set())


async def test_denied_networks_that_name_none_of_ipv6_deny_all_of_it(box: OpenBox, outside: Outside) -> None:
    async with box("g1") as one:
        assert await one.ask("tcp", outside.ipv6, 80) == REFUSED
        assert await one.ask("udp", outside.ipv6, 53) == REFUSED
        assert not await one.ping(outside.ipv6)


@pytest.mark.parametrize(
    ("denied", "allowed", "expected"),
    [
        ((), (), OK),
        (("10.0.0.0/8", "fc00::/7"), (), REFUSED),
        (("10.0.0.0/8", "2001:db8::/32"), (), OK),
        (("fc00::/7",), ("fd5e::/16",), OK),
    ],
)
async def test_without_rules_denied_networks_are_denied_and_others_are_not(
    outside: Outside,
    config: NetworkConfig,
    denied: tuple[str, ...],
    allowed: tuple[str, ...],
    expected: str,
) -> None:
    given = replace(config, denied_networks=denied, allowed_networks=allowed)
    async with network_of(given) as network, box_in(network, given, "g1") as one:
        assert await one.ask("tcp", outside.ipv6, 80) == expected
        assert await one.ask("udp", outside.ipv6, 53) == expected
        assert await one.ping(outside.ipv6) is (expected == OK)
        assert await one.ask("tcp", outside.host_ipv6, 80) == REFUSED  # this host itself


async def test_rules_open_what_they_name(box: OpenBox, outside: Outside) -> None:
    there = outside.ipv6
    around = f"{there.removesuffix('2')}-{there}"
    cases: list[tuple[SecurityGroupRule, set[object]]] = [
        (rule("tcp", there, ports=(80, 8080)), {80, 8080}),
        (rule("tcp", f"192.0.2.1,{there}/64", port_range=PortRange(start=80, end=81)), {80, 81}),
        (rule("tcp", around, port_range=PortRange(start=81, end=65535)), {81, 8080}),
        (rule("udp", there, ports=(53,)), {"53"}),
        (rule("icmpv6", there, icmp_info=ICMPInfo(type=128, code=0)), {"ping"}),
        (rule("icmpv6", there, icmp_info=ICMPInfo(type=-1, code=-1)), {"ping"}),
        (rule("icmpv6", there, icmp_info=ICMPInfo(type=1, code=0)), set()),
        (rule("icmp", there, icmp_info=ICMPInfo(type=-1, code=-1)), set()),
        (rule("all", "fd5e::/16"), {80, 81, 8080, "53", "54", "ping"}),
        (rule("all", "0.0.0.0/0"), set()),
        (rule("tcp", "2001:db8::1", ports=(80,)), set()),
    ]

    async def found(number: int, given: SecurityGroupRule) -> set[object]:
        async with box(f"g{number}", [given]) as one:
            return await reached(one, there)

    results = await asyncio.gather(*(found(number, given) for number, (given, _) in enumerate(cases)))
    assert results == [expected for _, expected in cases]


async def test_the_outside_sees_the_host(box: OpenBox, outside: Outside) -> None:
    async with box("g1", ANYWHERE) as one:
        talk = (sys.executable, str(PROBE), "talk", "tcp", outside.ipv6, "80")
        assert await output(*one.enter, *talk, said="hello\n") == (0, f"{outside.host_ipv6} hello")


async def test_rules_change_under_a_connection_that_goes_on(
    box: OpenBox, outside: Outside, network: CellNetwork
) -> None:
    async with box("g1", ANYWHERE) as one:
        talk = (sys.executable, str(PROBE), "talk", "tcp", outside.ipv6, "80")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*one.enter, *talk, stdin=pipe, stdout=pipe)

        async def goes_on() -> bool:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"still here\n")
            async with asyncio.timeout(20):
                return (await process.stdout.readline()).endswith(b"still here\n")

        assert await goes_on()
        await network.attach(one.container, {}, [rule("tcp", "2001:db8::1", ports=(80,))])
        assert await goes_on()
        assert await one.ask("tcp", outside.ipv6, 80) == REFUSED
        await network.attach(one.container, {}, ANYWHERE)
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        await process.communicate(b"")


async def test_mapped_ports_for_clients_with_ipv6(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    port, other = network.reserve("g1", 2)
    own = rule("tcp", outside.host_ipv6, ports=(port,))
    async with (
        box("g1", [own], {port: 7000, other: 7000}) as one,
        box("g2", [own]) as two,
        box("g3") as three,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        remote = f"/run/netns/{outside.space}"
        assert await ask(remote, "tcp", outside.host_ipv6, port) == OK
        assert await ask(HERE, "tcp", outside.host_ipv6, port) == OK
        assert await ask(HERE, "tcp", str(config.gateway_ipv6), port) == OK
        assert await ask(HERE, "tcp", "::1", port) == REFUSED  # at once, so that clients go on to 127.0.0.1
        assert await one.ask("tcp", outside.host_ipv6, port) == OK
        assert await two.ask("tcp", outside.host_ipv6, port) == OK
        assert await two.ask("tcp", outside.host_ipv6, other) == REFUSED
        assert await three.ask("tcp", outside.host_ipv6, port) == REFUSED
        assert await two.ask("tcp", one.ipv6, 7000) == REFUSED
        assert not await two.ping(one.ipv6)
        await network.detach("g1")
        assert await ask(HERE, "tcp", outside.host_ipv6, port) == REFUSED


async def test_the_host_is_not_for_containers(
    box: OpenBox, outside: Outside, config: NetworkConfig, network: CellNetwork
) -> None:
    """Its listeners, at any of its addresses: that outside, that towards the containers, that of the link."""
    (port,) = network.reserve("nobody", 1)
    async with (
        box("g1") as one,
        started(sys.executable, str(PROBE), "serve", f"tcp:{port}"),
    ):
        for address in (outside.host_ipv6, str(config.gateway_ipv6)):
            assert await ask(HERE, "tcp", address, port) == OK
            assert await one.ask("tcp", address, port) == REFUSED
        assert (
            await ask(HERE, "tcp", f"fe80::1%{config.port_name(IPv4Address(one.container.address))}", port)
            == OK
        )
        assert await one.ask("tcp", "fe80::1%eth0", port) != OK
        await output(*one.enter, "ip", "-6", "route", "add", "::1/128", "via", "fe80::1", "dev", "eth0")
        assert await one.ask("tcp", "::1", port) != OK


async def test_nobody_gets_in_or_out_with_the_address_of_another(
    box: OpenBox, outside: Outside, config: NetworkConfig
) -> None:
    async with box("g1", ANYWHERE) as one, box("g2", ANYWHERE) as two:
        await output(*two.enter, "ip", "addr", "add", f"{one.ipv6}/128", "dev", "eth0", "nodad")
        script = f"import socket; socket.create_connection(('{outside.ipv6}', 80), 1, ('{one.ipv6}', 0))"
        status, text = await output(*two.enter, sys.executable, "-c", script)
        assert status == 1
        assert "TimeoutError" in text
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        ip("-n", outside.space, "route", "add", str(config.network_ipv6), "via", outside.host_ipv6)
        async with started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"):
            remote = f"/run/netns/{outside.space}"
            assert await ask(remote, "tcp", one.ipv6, 7000) == "silence"
            assert await ask(HERE, "tcp", one.ipv6, 7000) == OK  # health checks


async def test_connections_are_logged_where_the_rule_says_so(
    box: OpenBox, outside: Outside, heard: Heard
) -> None:
    async with box("instance", [rule("tcp", outside.ipv6, ports=(80,), log=True)]) as one:
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        async with asyncio.timeout(10):
            await heard.any.wait()
    (record,) = heard.records
    assert vars(record)["data"] == {
        "guid": "instance",
        "source": one.ipv6,
        "destination": outside.ipv6,
        "protocol": "tcp",
        "port": 80,
    }


async def test_a_connection_of_a_container_that_is_gone_is_forgotten(
    box: OpenBox, outside: Outside, network: CellNetwork
) -> None:
    (port,) = network.reserve("g1", 1)
    async with (
        box("g1", ANYWHERE, {port: 7000}) as one,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        assert await one.ask("udp", outside.ipv6, 53) == OK
        assert await ask(HERE, "tcp", outside.host_ipv6, port) == OK
        assert remembered(one.ipv6)
        mine = one.ipv6
    assert not remembered(mine)


def remembered(address: str) -> bool:
    """Whether the kernel has connections of it."""
    written = IPv6Address(address).exploded
    return f"={written} " in Path("/proc/net/nf_conntrack").read_text()


TAMPERINGS = {
    "a port": ("host ports of IPv6", "flush map inet {table} ports6"),
    "the rules of a container": ("ways to the rules of containers", "flush map inet {table} containers6"),
    "an address": ("known addresses", "flush set inet {table} refused6"),
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
    async with box("g1", [rule("tcp", outside.ipv6, "2001:db8::/32", ports=(80,))], {port: 7000}) as one:
        await network.verify()
        assert caplog.records == []
        assert await output("nft", statement.format(table=config.table)) == (0, "")
        await network.verify()
        (record,) = caplog.records
        assert vars(record)["data"]["repaired"] == [name]
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        await network.verify()
        assert len(caplog.records) == 1


async def test_an_interface_that_others_remove_comes_back(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    (port,) = network.reserve("g1", 1)
    async with (
        box("g1", [*ANYWHERE], {port: 7000}) as one,
        started(*one.enter, sys.executable, str(PROBE), "serve", "tcp:7000"),
    ):
        ip("link", "del", config.name)
        await network.verify()
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        assert await ask(HERE, "tcp", str(config.gateway_ipv6), port) == OK


async def test_the_command_shows_it(
    box: OpenBox, outside: Outside, network: CellNetwork, config: NetworkConfig
) -> None:
    rules = [
        rule("tcp", outside.ipv6, ports=(80,)),
        rule("icmpv6", outside.ipv6, icmp_info=ICMPInfo(type=128, code=0)),
    ]
    async with box("instance-1", rules) as one:
        assert await one.ask("tcp", outside.ipv6, 80) == OK
        assert await one.ask("tcp", outside.ipv6, 81) == REFUSED
        command = (sys.executable, "-m", "cell", "network", "--table", config.table, "instance-1")
        status, text = await output(*command)
        words = [line.split() for line in text.splitlines()]
        assert status == 0
        assert ["ipv6", one.ipv6] in words
        assert ["refused", "1", "packets"] in words
        assert ["tcp", outside.ipv6, "port", "80", "1", "-"] in words
        assert ["icmpv6", outside.ipv6, "type", "128", "code", "0", "0", "-"] in words


async def test_containers_without_ipv6(config: NetworkConfig, outside: Outside) -> None:
    given = replace(config, subnet_ipv6=NO_IPV6, denied_networks=())
    async with network_of(given) as network, box_in(network, given, "g1") as one:
        shown = ("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
        assert await output(*one.enter, *shown) == (0, "")
        assert await one.ask("tcp", outside.ipv6, 80) != OK
        assert await one.ask("tcp", outside.address, 80) == OK


SCRIPT = """
import asyncio
from executor.network.cell import CellNetwork
from executor.network.config import NetworkConfig

async def main():
    network = CellNetwork(NetworkConfig(name="alone", table="alone", subnet="10.9.0.0/24"))
    await network.start()
    await network.stop()

asyncio.run(main())
"""


async def test_a_host_that_begins_to_forward_goes_on_listening_to_its_routers(unique: str) -> None:
    """In a network namespace of its own, with an interface that listens and one that does not."""
    enter = ("ip", "netns", "exec", unique)
    show = ("sysctl", "-n", "net.ipv6.conf.up0.accept_ra", "net.ipv6.conf.up1.accept_ra")
    ip("netns", "add", unique)
    try:
        for name in ("up0", "up1"):
            ip("-n", unique, "link", "add", name, "type", "bridge")
        settings = ("all.forwarding=0", "up0.accept_ra=1", "up1.accept_ra=0")
        await output(*enter, "sysctl", "-w", *(f"net.ipv6.conf.{setting}" for setting in settings))
        assert await output(*enter, *show) == (0, "1\n0")
        assert await output(*enter, sys.executable, "-c", SCRIPT) == (0, "")
        assert await output(*enter, *show, "net.ipv6.conf.all.forwarding") == (0, "2\n0\n1")
    finally:
        ip("netns", "del", unique)
