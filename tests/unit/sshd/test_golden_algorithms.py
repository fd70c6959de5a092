"""Recorded offers and refusals before anybody is authenticated."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from asyncssh.packet import SSHPacket

from sshd.ssh.client import ClientLink, Credentials, client_options
from sshd.ssh.library import asyncssh
from sshd.wire import Reader, boolean, string

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "golden/lifecycle/sshd_algorithms.json").read_text()
)
OFFERS = [case for case in CASES if "kexinit" in case]
STOCK = [case for case in CASES if "accepted" in case]
BY_NAME = {case["name"]: case for case in CASES}

LISTS = (
    *("kex", "host_key", "ciphers_c2s", "ciphers_s2c", "macs_c2s", "macs_s2c"),
    *("compression_c2s", "compression_s2c", "lang_c2s", "lang_s2c"),
)


def own_arguments(case: dict[str, Any]) -> list[str]:
    return [argument for argument in case["args"] if argument.startswith("-allowed")]


def read_offer(port: int) -> tuple[str, dict[str, Any] | None]:
    """The identification line and the first KEXINIT."""
    with socket.create_connection(("127.0.0.1", port), 10) as end, end.makefile("rb") as file:
        end.sendall(b"SSH-2.0-probe\r\n")
        line = file.readline().decode().strip()
        head = file.read(4)
        if not head:
            return line, None
        packet = file.read(int.from_bytes(head, "big"))
    reader = Reader(packet[1 : len(packet) - packet[0]])
    assert reader.byte() == 20
    reader.take(16)
    offer: dict[str, Any] = {}
    for name in LISTS:
        names = reader.string().decode()
        offer[name] = names.split(",") if names else []
    offer["first_kex_follows"] = int(reader.boolean())
    return line, offer


@pytest.mark.parametrize("case", OFFERS, ids=[case["name"] for case in OFFERS])
def test_offer(case: dict[str, Any], daemons: Any, tmp_path: Path) -> None:
    with daemons.run(tmp_path, *own_arguments(case), host_key=case["host_key_type"]) as daemon:
        line, offer = read_offer(daemon.port)
    assert line == case["identification"]
    if case["kexinit"] is None:  # a name to drop like an unknown one
        assert offer is not None
        assert offer["kex"] == ["kex-strict-s-v00@openssh.com"]
    else:
        assert offer == case["kexinit"]


OPTIONS = {
    "stock-client-kex": "KexAlgorithms",
    "stock-client-ciphers": "Ciphers",
    "stock-client-macs": "MACs",
    "stock-client-host-key-algorithms": "HostKeyAlgorithms",
}


@pytest.mark.parametrize("case", STOCK, ids=[case["name"] for case in STOCK])
def test_stock_client(case: dict[str, Any], daemon: Any, ssh: Any) -> None:
    extra = ["-oCiphers=aes128-ctr"] if case["name"] == "stock-client-macs" else []
    for verdict, wanted in (("accepted", True), ("refused", False)):
        for name in case[verdict]:
            done = ssh(daemon, *extra, f"-o{OPTIONS[case['name']]}={name}", command="echo in")
            assert (done.stdout == "in\n") is wanted, (name, done.stderr)


class Probe(ClientLink):
    """A client that authenticates by hand and keeps every answer."""

    def __init__(self) -> None:
        super().__init__(client_options(Credentials("probe"), "probe"), lambda _: True, None)  # type: ignore[arg-type]
        self.ready = asyncio.Event()
        self.answers: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.extensions: list[list[str]] = []

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self.ready.set()

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        names = {1: "disconnect", 51: "failure", 52: "success"}
        if pkttype == 7:
            count = packet.get_uint32()
            self.extensions = [
                [packet.get_string().decode(), packet.get_string().decode()] for _ in range(count)
            ]
            return True
        if pkttype in names:
            self.answers.put_nowait((names[pkttype], packet.get_remaining_payload()))
            return True
        return super().process_packet(pkttype, pktid, packet)

    def attempt(self, method: str, *fields: bytes) -> None:
        self.send_packet(50, string(b"probe"), string(b"ssh-connection"), string(method.encode()), *fields)

    def query(self, key: asyncssh.SSHKey) -> None:
        self.attempt("publickey", boolean(False), string(key.algorithm), string(key.public_data))

    def sign(self, key: asyncssh.SSHKey) -> None:
        head = boolean(True) + string(b"rsa-sha2-256") + string(key.public_data)
        signed = (
            string(self._session_id)
            + b"\x32"
            + string(b"probe")
            + string(b"ssh-connection")
            + string(b"publickey")
            + head
        )
        self.attempt("publickey", head, string(key.sign(signed, b"rsa-sha2-256")))


async def probe(port: int) -> Probe:
    _, link = await asyncio.get_running_loop().create_connection(Probe, "127.0.0.1", port)
    await link.ready.wait()
    return link


async def test_extension_message(daemon: Any) -> None:
    link = await probe(daemon.port)
    (name, signatures), ping = BY_NAME["extension-message"]["ext_info"]
    assert link.extensions[1] == ping
    assert link.extensions[0][0] == name
    assert link.extensions[0][1].split(",") == [
        algorithm for algorithm in signatures.split(",") if algorithm != "ssh-dss"
    ]
    link.abort()
    await link.wait_closed()


async def attempts(port: int, keys: Any, wrong: int, right: bool) -> list[tuple[str, bytes]]:
    link = await probe(port)
    answers: list[tuple[str, bytes]] = []
    link.attempt("none")
    answers.append(await link.answers.get())
    for pem in keys.other_users[:wrong]:
        link.query(asyncssh.import_private_key(pem))
        answers.append(await link.answers.get())
    if right:
        link.sign(asyncssh.import_private_key(keys.user))
        answers.append(await link.answers.get())
    link.abort()
    await link.wait_closed()
    return answers


async def test_six_refused_keys(daemon: Any, keys: Any) -> None:
    case = BY_NAME["six-refused-keys"]
    answers = await attempts(daemon.port, keys, 6, False)
    assert [kind for kind, _ in answers] == case["replies"]
    reader = Reader(answers[-1][1])
    assert {"reason": reader.uint32(), "message": reader.text()} == case["disconnect"]
    assert answers[0][1] == string(b"publickey") + boolean(False)


async def test_five_refused_keys_then_the_right_one(daemon: Any, keys: Any) -> None:
    answers = await attempts(daemon.port, keys, 5, True)
    assert [kind for kind, _ in answers] == BY_NAME["five-refused-keys-then-the-right-one"]["replies"]


async def test_passwords_are_no_way_in(daemon: Any) -> None:
    link = await probe(daemon.port)
    link.attempt("password", boolean(False), string(b"secret"))
    assert await link.answers.get() == ("failure", string(b"publickey") + boolean(False))
    link.abort()
    await link.wait_closed()


async def test_none_is_enough_when_everybody_may_come_in(daemons: Any) -> None:
    with daemons.kept("-logLevel=fatal", "-allowUnauthenticatedClients") as daemon:
        link = await probe(daemon.port)
        link.attempt("none")
        assert await link.answers.get() == ("success", b"")
        link.abort()
        await link.wait_closed()
