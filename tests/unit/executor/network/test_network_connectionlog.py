"""The log of containers' connections, and gaps in the kernel's messages."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from executor.network import connectionlog
from executor.network.connectionlog import ConnectionLog
from executor.network.nflog import Packet
from executor.network.rules import LIMIT_PREFIX
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

SOURCE, OTHER, DESTINATION = (IPv4Address(each) for each in ("10.0.0.2", "10.0.0.9", "192.0.2.1"))


class Group:
    """A log group that always has something to read: packets, then the error."""

    def __init__(self, packets: list[Packet], error: int) -> None:
        self.packets = packets
        self.error = error
        self.reads = 0
        self._ours, self._theirs = socket.socketpair()
        self._theirs.send(b"x")

    def fileno(self) -> int:
        return self._ours.fileno()

    def read(self) -> list[Packet]:
        self.reads += 1
        if self.reads > 1:
            raise OSError(self.error, "broken")
        return self.packets

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "executor.network.connectionlog"):
        yield caplog


def log_of(group: Group, monkeypatch: pytest.MonkeyPatch, limited: list[str]) -> ConnectionLog:
    monkeypatch.setattr(connectionlog, "LogGroup", lambda _: group)
    guids = {SOURCE: "ig"}
    log = ConnectionLog(7, guids.get, 5, limited.append)
    log.open()
    return log


async def until_reads(group: Group, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while group.reads < count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_what_is_allowed_and_what_is_too_much(
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    limited: list[str] = []
    packets = [
        Packet(SOURCE, DESTINATION, "tcp", 80),
        Packet(SOURCE, DESTINATION, "tcp", 81, prefix=LIMIT_PREFIX),
        Packet(OTHER, DESTINATION, "tcp", 82, prefix=LIMIT_PREFIX),
    ]
    group = Group(packets, errno.ENOBUFS)
    log = log_of(group, monkeypatch, limited)
    await until_reads(group, 2)
    log.close()
    assert said.messages[:3] == [
        "egress-connection-allowed",
        "container-has-too-many-connections",
        "container-has-too-many-connections",
    ]
    assert said.messages[3] == "egress-log-lost-connections"
    assert limited == ["ig"]


async def test_a_group_that_breaks_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    """The error came again and again, as fast as the event loop turned."""
    group = Group([], errno.EIO)
    log_of(group, monkeypatch, [])
    await until_reads(group, 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert group.reads == 2
    assert said.messages == ["egress-log-not-available"]
