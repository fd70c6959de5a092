"""Bounds of one connection, without a network."""

from __future__ import annotations

import ast
import asyncio
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sshd.proxy.limits import ConnectionCounts, ConnectionLimits
from sshd.proxy.realms import Denied, DiegoRealm, Instance
from sshd.ssh import endpoints, transport
from sshd.ssh import messages as m
from sshd.ssh.algorithms import Algorithms
from sshd.ssh.channel import PACKETS_PER_TURN, TurnBudget
from sshd.ssh.library import LibraryMismatch, asyncssh, check_version
from sshd.ssh.mux import Mux
from sshd.ssh.server import ServerLink, ServerPolicy, server_options
from sshd.ssh.transport import UNREAD_BEFORE_AUTHENTICATION, check_names

pytestmark = pytest.mark.unit


class Socket:
    """A transport whose peer reads nothing."""

    def __init__(self) -> None:
        self.unread = 0
        self.aborted = False

    def get_extra_info(self, name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class PasswordMethod:
    method = b"password"


@pytest.fixture
def make_link(keys: Any) -> Callable[[], ServerLink]:
    def make() -> ServerLink:
        policy = ServerPolicy(
            version="test",
            host_key=asyncssh.import_private_key(keys.host["ed25519"]),
            algorithms=Algorithms(),
            authenticator=lambda _: PasswordMethod(),  # type: ignore[arg-type, return-value]
            ready=lambda _: None,
            ended=lambda _: None,
            idle_seconds=0,
            login_seconds=0,
        )
        return ServerLink(server_options(policy), policy)

    return make


async def test_a_stranger_that_reads_nothing_is_dropped(make_link: Callable[[], ServerLink]) -> None:
    """Answers may wait up to a size, not without end."""
    link, end = make_link(), Socket()
    link.connection_made(end)  # type: ignore[arg-type]
    sent = 0
    while not link.lost():
        link.send_packet(m.UNIMPLEMENTED, b"\0\0\0\0")
        sent += 1
        assert sent < UNREAD_BEFORE_AUTHENTICATION
    assert end.unread < UNREAD_BEFORE_AUTHENTICATION + 100
    await asyncio.sleep(0)
    assert end.aborted


# -- turns ------------------------------------------------------------------------------------------


async def test_a_turn_is_renewed_in_a_later_one() -> None:
    renewed: list[int] = []
    turn = TurnBudget(lambda: renewed.append(turn.left))
    turn.take(PACKETS_PER_TURN - 1)
    assert turn.left == 1
    turn.take(5)
    assert (turn.left, renewed) == (0, [])
    await asyncio.sleep(0)
    assert (turn.left, renewed) == (PACKETS_PER_TURN, [PACKETS_PER_TURN])


async def test_a_turn_that_is_not_used_up_schedules_nothing() -> None:
    renewed: list[int] = []
    turn = TurnBudget(lambda: renewed.append(1))
    turn.take(1)
    await asyncio.sleep(0)
    assert (turn.left, renewed) == (PACKETS_PER_TURN - 1, [])


def test_channels_are_woken_in_turns() -> None:
    """The first one may use up all room there is."""
    link = types.SimpleNamespace(send_packet=lambda *_: None, has_room=lambda: True, lost=lambda: False)
    mux = Mux(link, types.SimpleNamespace())  # type: ignore[arg-type]
    order: list[int] = []
    for number in range(3):
        handler = types.SimpleNamespace(
            opened=lambda _: None, writable=lambda number=number: order.append(number)
        )
        mux.accepted(handler, number, 1000, 1000, b"")
    for _ in range(3):
        mux.writable()
    assert {order[0], order[3], order[6]} == {0, 1, 2}
    assert sorted(order) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


# -- the library ------------------------------------------------------------------------------------


def test_another_version_of_the_library_is_refused_with_words() -> None:
    with pytest.raises(LibraryMismatch, match=r"asyncssh 2\.99\.0 is installed, but sshd needs"):
        check_version("2.99.0")


def test_a_library_without_a_name_that_is_used_is_refused_with_words() -> None:
    class Connection:
        def __init__(self) -> None:
            self._transport = None

    with pytest.raises(LibraryMismatch, match=r"has no .*_recv_packet"):
        check_names(Connection, Connection, Connection)


def test_every_private_name_that_is_used_is_checked() -> None:
    """So that another version of the library is refused at import, not in the middle of a connection."""
    files = (transport.__file__, endpoints.__file__)
    tree = [node for file in files for node in ast.walk(ast.parse(Path(file).read_text()))]
    used = {node.attr for node in tree if isinstance(node, ast.Attribute)}
    used |= {node.name for node in tree if isinstance(node, ast.FunctionDef)}
    ours = {
        *("_took_over", "_packets_before", "_longest_packet", "_offer", "_host_key_pairs"),
        *("_receive_packets", "_dispatch", "_wait"),
    }
    checked = (
        transport.USED_ATTRIBUTES
        | transport.USED_SERVER_ATTRIBUTES
        | transport.USED_CLIENT_ATTRIBUTES
        | transport.USED_METHODS
    )
    private = {name for name in used if name.startswith("_") and not name.startswith("__")}
    assert private - ours == checked


# -- places -----------------------------------------------------------------------------------------


def test_places_of_users_and_instances() -> None:
    counts = ConnectionCounts(ConnectionLimits(per_user=2, per_instance=3))
    one, another = Instance("a", 0, "u1"), Instance("b", 0, "u1")
    counts.take(one)
    counts.take(another)
    with pytest.raises(Denied, match="the user has 2 connections"):
        counts.take(one)
    counts.take(Instance("a", 0, "u2"))
    counts.take(Instance("a", 0, ""))
    with pytest.raises(Denied, match="the instance has 3 connections"):
        counts.take(Instance("a", 0, "u3"))
    counts.take(Instance("a", 1, "u3"))
    counts.release(another)
    counts.release(Instance("a", 0, ""))
    counts.take(one)


def test_users_that_are_not_known_have_no_limit_of_their_own() -> None:
    counts = ConnectionCounts(ConnectionLimits(per_user=1, per_instance=0))
    for _ in range(10):
        counts.take(Instance("a", 0))


def test_a_realm_with_an_empty_password_is_not_made() -> None:
    with pytest.raises(ValueError, match="an empty password would admit every client"):
        DiegoRealm("")
