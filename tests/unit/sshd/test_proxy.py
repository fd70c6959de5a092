"""The proxy between a stock client and a real daemon; the BBS is a table."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    PreferredAddress,
)
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from sshd.proxy.fingerprints import matches
from sshd.proxy.realms import DiegoRealm
from sshd.proxy.server import Proxy, ProxySettings
from sshd.proxy.target import Address, NoTarget, Target, choose_target, only
from sshd.records import Records
from sshd.ssh.algorithms import Algorithms
from sshd.ssh.library import asyncssh

pytestmark = pytest.mark.unit

PASSWORD = "s3cret"


@dataclass
class Table:
    """A BBS that knows one process."""

    lrps: list[ActualLRP] = field(default_factory=list)
    desired: DesiredLRP = field(default_factory=DesiredLRP)

    async def actual_lrps(self, *, process_guid: str = "", index: int | None = None) -> list[ActualLRP]:
        return [
            lrp
            for lrp in self.lrps
            if (lrp.actual_lrp_key.process_guid, lrp.actual_lrp_key.index) == (process_guid, index)
        ]

    async def desired_lrp(self, process_guid: str) -> DesiredLRP:
        return self.desired


@dataclass
class Told:
    """What the app's log and the gauge were told."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def visit(self, target: Target, text: str) -> None:
        self.lines.append((target.source_id, target.instance_id, text.rpartition(" ")[0]))
        self.news.set()

    def connections(self, count: int) -> None:
        self.counts.append(count)
        self.news.set()

    async def until_over(self) -> None:
        """The visit has ended in both."""
        while len(self.lines) < 2 or self.counts[-1:] != [0]:
            self.news.clear()
            await self.news.wait()


class Kept(Records):
    """Log records to look at."""

    def __init__(self) -> None:
        super().__init__("ssh-proxy", 0, False)
        self.written: list[tuple[str, object]] = []

    def write(self, level: int, message: str, **data: object) -> None:
        self.written.append((message, data.get("error")))


@dataclass
class Setting:
    port: int
    table: Table
    told: Told
    log: Kept


def instance(port: int) -> ActualLRP:
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid="guid", index=0),
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid="instance"),
        actual_lrp_net_info=ActualLRPNetInfo(
            address="127.0.0.1", ports=(PortMapping(container_port=2222, host_port=port),)
        ),
        state="RUNNING",
    )


def process(keys: Any, **route: Any) -> DesiredLRP:
    data = {"container_port": 2222, "host_fingerprint": "", "private_key": keys.user, "new": 1} | route
    return DesiredLRP(
        process_guid="guid",
        log_guid="app",
        routes={"diego-ssh": json.dumps(data).encode()},
        metric_tags={"index": MetricTagValue(dynamic=DynamicValue.INDEX), "org": MetricTagValue(static="o")},
    )


@pytest.fixture
async def setting(daemon: Any, keys: Any) -> AsyncIterator[Setting]:
    told = Told()
    table = Table([instance(daemon.port)], process(keys))
    log = Kept()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    proxy = Proxy(
        ProxySettings(keys.host["ecdsa"], Algorithms(), 0, False, None),
        [DiegoRealm(PASSWORD)],
        table,
        told,
        log,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(proxy.serve(listening))
        yield Setting(listening.getsockname()[1], table, told, log)
        task.cancel()


async def client(
    setting: Setting, tmp_path: Path, *command: str, user: str = "diego:guid/0", stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """A stock client that is asked for its password by a program."""
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    ask.chmod(0o700)
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]
    running = await asyncio.create_subprocess_exec(
        *("ssh", *options, "-p", str(setting.port), "-l", user, "127.0.0.1", *command),
        env={"PATH": os.environ["PATH"], "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await running.communicate(stdin)
    assert running.returncode is not None
    return running.returncode, out, err


async def test_a_command_through_the_proxy(setting: Setting, tmp_path: Path) -> None:
    status, out, err = await client(setting, tmp_path, "echo out; echo err >&2; exit 9")
    assert (status, out, err) == (9, b"out\n", b"err\n")
    await setting.told.until_over()
    assert setting.told.lines == [
        ("app", "0", "Successful remote access by"),
        ("app", "0", "Remote access ended for"),
    ]
    assert setting.told.counts == [1, 0]
    assert setting.log.written == [
        ("authentication-failed", "ssh: no auth passed yet"),
        ("authentication-attempted", None),
    ]


async def test_megabytes_both_ways(setting: Setting, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    assert await client(setting, tmp_path, "cat", stdin=data) == (0, data, b"")


async def test_a_terminal_and_a_signal(setting: Setting, tmp_path: Path) -> None:
    status, out, _ = await client(setting, tmp_path, "-tt", "tty; kill -TERM $$")
    assert status == 255
    assert out.startswith(b"/dev/pts/")


@pytest.mark.parametrize(
    "user", ["diego:guid/1", "diego:other/0", "nobody", "xdiego:guid/0", "diego:guid/99999999999"]
)
async def test_who_is_not_let_in(user: str, setting: Setting, tmp_path: Path) -> None:
    status, _, err = await client(setting, tmp_path, "true", user=user)
    assert status == 255
    assert b"Permission denied" in err


async def test_the_host_key_has_to_be_the_expected_one(setting: Setting, keys: Any, tmp_path: Path) -> None:
    blob = asyncssh.import_private_key(keys.host["rsa"]).public_data
    right = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    setting.table.desired = process(keys, host_fingerprint=right)
    assert (await client(setting, tmp_path, "exit 3"))[0] == 3
    setting.table.desired = process(keys, host_fingerprint=right.swapcase())
    status, out, _ = await client(setting, tmp_path, "exit 3")
    assert (status, out) == (255, b"")
    assert setting.log.written[-1] == ("failed-to-reach-instance", "Host fingerprint mismatch")


async def test_an_instance_without_the_port(setting: Setting, keys: Any, tmp_path: Path) -> None:
    setting.table.desired = process(keys, container_port=2223)
    assert (await client(setting, tmp_path, "true"))[0] == 255
    assert ("authentication-attempted", None) in setting.log.written


KEY = b"key blob"
SHA256 = base64.b64encode(hashlib.sha256(KEY).digest()).decode()


@pytest.mark.parametrize(
    ("expected", "accepted"),
    [
        ("", True),
        (hashlib.md5(KEY).digest().hex(":"), True),
        (hashlib.md5(KEY).digest().hex(":").upper(), False),
        (hashlib.sha1(KEY).digest().hex(":"), True),
        (SHA256, True),
        (SHA256.rstrip("="), True),
        (f"SHA256:{SHA256.rstrip('=')}", True),
        (hashlib.sha256(KEY).digest().hex(":"), True),
        (hashlib.sha256(b"other").digest().hex(":"), False),
        ("short", False),
    ],
)
def test_fingerprints(expected: str, accepted: bool) -> None:
    assert matches(expected, KEY) is accepted


NET = ActualLRPNetInfo(address="10.0.0.1", instance_address="10.255.0.2")
PORTS = PortMapping(
    container_port=2222, host_port=61001, container_tls_proxy_port=61444, host_tls_proxy_port=61003
)


@pytest.mark.parametrize(
    ("preferred", "direct", "ports", "plain", "tls"),
    [
        (PreferredAddress.HOST, True, PORTS, ("10.0.0.1", 61001), ("10.0.0.1", 61003)),
        (PreferredAddress.INSTANCE, False, PORTS, ("10.255.0.2", 2222), ("10.255.0.2", 61444)),
        (PreferredAddress.UNKNOWN, False, PORTS, ("10.0.0.1", 61001), ("10.0.0.1", 61003)),
        (PreferredAddress.UNKNOWN, True, PORTS, ("10.255.0.2", 2222), ("10.255.0.2", 61444)),
        (
            PreferredAddress.INSTANCE,
            False,
            replace(PORTS, container_tls_proxy_port=0),
            ("10.255.0.2", 2222),
            ("10.0.0.1", 61003),
        ),
        (PreferredAddress.HOST, False, replace(PORTS, host_tls_proxy_port=0), ("10.0.0.1", 61001), None),
        (PreferredAddress.HOST, False, replace(PORTS, container_port=8080), None, None),
    ],
)
def test_addresses(
    preferred: PreferredAddress,
    direct: bool,
    ports: PortMapping,
    plain: tuple[str, int] | None,
    tls: tuple[str, int] | None,
    keys: Any,
) -> None:
    lrp = replace(instance(1), actual_lrp_net_info=replace(NET, ports=(ports,), preferred_address=preferred))
    target = choose_target(lrp, process(keys), connect_to_instance_address=direct, tls_enabled=True)
    assert target.plain == (plain and Address(*plain))
    assert target.tls == (tls and Address(*tls))
    assert target.tags == {"source_id": "app", "instance_id": "0", "index": "0", "org": "o"}


@pytest.mark.parametrize(("count", "number"), [(0, "no"), (2, "multiple")])
def test_exactly_one_instance(count: int, number: str) -> None:
    with pytest.raises(NoTarget, match=f"{number} matching ActualLRP for ProcessGuid: g, Index: 4"):
        only([instance(1)] * count, "g", 4)


def test_no_route(keys: Any) -> None:
    with pytest.raises(NoTarget, match="SSH routing info not found"):
        choose_target(
            instance(1), DesiredLRP(routes={}), connect_to_instance_address=False, tls_enabled=False
        )
