"""Recorded offers and refusals before authentication."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from sshd.ssh.library import asyncssh
from sshd.wire import Reader, boolean, string
from tests.support.paths import GOLDEN_FILES
from tests.support.thorough import sampled

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads((GOLDEN_FILES / "lifecycle/sshd_algorithms.json").read_text())
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


@pytest.mark.parametrize("case", sampled(OFFERS, 5), ids=lambda case: case["name"])
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
        for name in sampled(case[verdict], 2):
            done = ssh(daemon, *extra, f"-o{OPTIONS[case['name']]}={name}", command="echo in")
            assert (done.stdout == "in\n") is wanted, (name, done.stderr)


async def test_extension_message(daemon: Any, probe: Any) -> None:
    link = await probe(daemon.port)
    (name, signatures), ping = BY_NAME["extension-message"]["ext_info"]
    assert link.extensions[1] == ping
    assert link.extensions[0][0] == name
    assert link.extensions[0][1].split(",") == [
        algorithm for algorithm in signatures.split(",") if algorithm != "ssh-dss"
    ]


async def attempts(link: Any, keys: Any, wrong: int, right: bool) -> list[tuple[str, bytes]]:
    answers: list[tuple[str, bytes]] = []
    link.attempt("none")
    answers.append(await link.answers.get())
    for pem in keys.other_users[:wrong]:
        link.query(asyncssh.import_private_key(pem))
        answers.append(await link.answers.get())
    if right:
        link.sign(asyncssh.import_private_key(keys.user))
        answers.append(await link.answers.get())
    return answers


async def test_six_refused_keys(daemon: Any, keys: Any, probe: Any) -> None:
    case = BY_NAME["six-refused-keys"]
    answers = await attempts(await probe(daemon.port), keys, 6, False)
    assert [kind for kind, _ in answers] == case["replies"]
    reader = Reader(answers[-1][1])
    assert {"reason": reader.uint32(), "message": reader.text()} == case["disconnect"]
    assert answers[0][1] == string(b"publickey") + boolean(False)


async def test_five_refused_keys_then_the_right_one(daemon: Any, keys: Any, probe: Any) -> None:
    answers = await attempts(await probe(daemon.port), keys, 5, True)
    assert [kind for kind, _ in answers] == BY_NAME["five-refused-keys-then-the-right-one"]["replies"]


async def test_only_the_first_none_is_free(daemon: Any, probe: Any) -> None:
    link = await probe(daemon.port)
    answers = []
    for _ in range(7):
        link.attempt("none")
        answers.append((await link.answers.get())[0])
    assert answers == ["failure"] * 6 + ["disconnect"]


async def test_a_user_name_without_end(daemon: Any, probe: Any) -> None:
    link = await probe(daemon.port)
    link.send_packet(50, string(b"x" * 5000), string(b"ssh-connection"), string(b"none"))
    assert (await link.answers.get())[0] == "disconnect"


async def test_passwords_are_no_way_in(daemon: Any, probe: Any) -> None:
    link = await probe(daemon.port)
    link.attempt("password", boolean(False), string(b"secret"))
    assert await link.answers.get() == ("failure", string(b"publickey") + boolean(False))


async def test_none_is_enough_when_everybody_may_come_in(daemons: Any, probe: Any) -> None:
    with daemons.kept("-logLevel=fatal", "-allowUnauthenticatedClients") as daemon:
        link = await probe(daemon.port)
        link.attempt("none")
        assert await link.answers.get() == ("success", b"")
