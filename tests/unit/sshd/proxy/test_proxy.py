"""The proxy between a stock client and a real daemon, with a table as BBS."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import replace
from typing import Any

import pytest

from bbs.models.actual_lrp import ActualLRPNetInfo, PortMapping, PreferredAddress
from bbs.models.desired_lrp import DesiredLRP
from sshd.proxy.backend import matches
from sshd.proxy.target import Address, NoTarget, choose_target, single_instance
from sshd.ssh.library import asyncssh

pytestmark = pytest.mark.unit


async def test_a_command_through_the_proxy(setting: Any, run: Any) -> None:
    status, out, err = await run("echo out; echo err >&2; exit 9")
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


async def test_megabytes_both_ways(run: Any) -> None:
    data = os.urandom(5_000_000)
    assert await run("cat", stdin=data) == (0, data, b"")


async def test_a_terminal_and_a_signal(run: Any) -> None:
    status, out, _ = await run("-tt", "tty; kill -TERM $$")
    assert status == 255
    assert out.startswith(b"/dev/pts/")


@pytest.mark.parametrize(
    "user", ["diego:guid/1", "diego:other/0", "nobody", "xdiego:guid/0", "diego:guid/99999999999"]
)
async def test_who_is_not_let_in(user: str, run: Any) -> None:
    status, _, err = await run("true", user=user)
    assert status == 255
    assert b"Permission denied" in err


async def test_the_host_key_has_to_be_the_expected_one(
    setting: Any, keys: Any, process: Any, run: Any
) -> None:
    blob = asyncssh.import_private_key(keys.host["rsa"]).public_data
    right = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    setting.table.desired = process(host_fingerprint=right)
    assert (await run("exit 3"))[0] == 3
    setting.table.desired = process(host_fingerprint=right.swapcase())
    status, out, _ = await run("exit 3")
    assert (status, out) == (255, b"")
    assert setting.log.written[-1] == ("failed-to-reach-instance", "Host fingerprint mismatch")


async def test_an_instance_without_the_port(setting: Any, process: Any, run: Any) -> None:
    setting.table.desired = process(container_port=2223)
    assert (await run("true"))[0] == 255
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
    instance: Any,
    process: Any,
) -> None:
    lrp = replace(instance(1), actual_lrp_net_info=replace(NET, ports=(ports,), preferred_address=preferred))
    target = choose_target(lrp, process(), connect_to_instance_address=direct, tls_enabled=True)
    assert target.plain == (plain and Address(*plain))
    assert target.tls == (tls and Address(*tls))
    assert target.tags == {"source_id": "app", "instance_id": "0", "index": "0", "org": "o"}


@pytest.mark.parametrize(("count", "number"), [(0, "no"), (2, "multiple")])
def test_exactly_one_instance(count: int, number: str, instance: Any) -> None:
    with pytest.raises(NoTarget, match=f"{number} matching ActualLRP for ProcessGuid: g, Index: 4"):
        single_instance([instance(1)] * count, "g", 4)


def test_no_route(instance: Any) -> None:
    with pytest.raises(NoTarget, match="SSH routing info not found"):
        choose_target(
            instance(1), DesiredLRP(routes={}), connect_to_instance_address=False, tls_enabled=False
        )
