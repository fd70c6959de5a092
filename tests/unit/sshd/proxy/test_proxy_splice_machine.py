"""One channel of a splice under any sequence of events: complete and ordered delivery, no leaks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshd.proxy.splice import SplicedConnection
from sshd.ssh import messages as m
from sshd.ssh.channel import Channel
from sshd.ssh.mux import Mux, OpenRequest
from sshd.ssh.replies import Reply
from tests.support.thorough import examples

pytestmark = pytest.mark.unit

CLIENT, FAR = "client", "far end"

Event = tuple[object, bytes]
"""What was sent or arrived: a kind of data and the data, or the name of something else."""


def note(events: list[Event], kind: object, data: bytes = b"") -> None:
    """Add an event; the division of data of one kind into pieces does not count."""
    if data and events and events[-1][0] == kind:
        events[-1] = (kind, events[-1][1] + data)
    else:
        events.append((kind, data))


def names(events: list[Event]) -> list[object]:
    return [name for name, _ in events]


class Wire:
    """A link whose packets wait until they are delivered."""

    def __init__(self) -> None:
        self.sent: deque[tuple[int, bytes]] = deque()
        self.choked = False
        self.mux: Mux | None = None

    def send_packet(self, pkttype: int, *args: bytes) -> None:
        self.sent.append((pkttype, bytes((pkttype,)) + b"".join(args)))

    def has_room(self) -> bool:
        return not self.choked

    def lost(self) -> bool:
        return False

    def create_task(self, work: Awaitable[None]) -> asyncio.Future[None]:
        return asyncio.ensure_future(work)

    def release(self, reason: str) -> None:
        """Nothing is ever held here."""

    def deliver(self, other: Wire, most: int) -> bool:
        """Hand on some packets; whether there were any."""
        delivered = False
        while self.sent and most:
            kind, payload = self.sent.popleft()
            assert other.mux is not None
            other.mux.packet_received(kind, payload)
            delivered, most = True, most - 1
        return delivered


@dataclass
class End:
    """One end of the channel: everything it sent, and everything that arrived."""

    channel: Channel | None = None
    hungry: bool = True
    untaken: int = 0
    sent: list[Event] = field(default_factory=list)
    got: list[Event] = field(default_factory=list)
    heard_close: bool = False
    closed: bool = False

    def opened(self, channel: Channel) -> None:
        self.channel = channel

    def data_received(self, kind: int, data: bytes) -> None:
        assert self.channel is not None
        note(self.got, kind, data)
        if self.hungry:
            self.channel.consumed(len(data))
        else:
            self.untaken += len(data)

    def eof_received(self) -> None:
        note(self.got, "eof")

    def request_received(self, name: str, payload: bytes, reply: Reply) -> None:
        note(self.got, name)
        reply(True)

    def writable(self) -> None:
        """It sends when the test requests it."""

    def closed_by_peer(self) -> None:
        self.heard_close = True

    def eat(self) -> None:
        assert self.channel is not None
        self.hungry = True
        self.channel.consumed(self.untaken)
        self.untaken = 0


class Handler:
    """The mux handler of an outer end: accepts the one channel."""

    def __init__(self, end: Any) -> None:
        self.end = end

    def open_requested(self, request: OpenRequest) -> None:
        request.accept(self.end)

    def global_requested(self, name: str, payload: bytes, reply: Reply) -> None:
        reply(False)

    def connection_ended(self, error: Exception | None) -> None:
        raise AssertionError("nothing ends here")


class Listening:
    """``End`` as a channel's handler, whose ``closed`` is a method and not a state."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.opened, self.data_received = end.opened, end.data_received
        self.eof_received, self.request_received = end.eof_received, end.request_received
        self.writable, self.closed = end.writable, end.closed_by_peer


class Splice:
    """client - (near, far side of the proxy) - far end, with packets under way in between."""

    def __init__(self) -> None:
        self.client_wire, self.near, self.beyond, self.far_wire = Wire(), Wire(), Wire(), Wire()
        self.ends = {CLIENT: End(), FAR: End()}
        here, there = SplicedConnection(lambda: None), SplicedConnection(lambda: None)
        links: Any = (self.near, self.beyond)
        self.near.mux, self.beyond.mux = Mux(self.near, here), Mux(self.beyond, there)
        self.client_wire.mux = Mux(self.client_wire, Handler(None))
        self.far_wire.mux = Mux(self.far_wire, Handler(Listening(self.ends[FAR])))
        here.join(links[0], there)
        there.join(links[1], here)

    def wires(self) -> list[tuple[Wire, Wire]]:
        return [
            (self.client_wire, self.near),
            (self.near, self.client_wire),
            (self.beyond, self.far_wire),
            (self.far_wire, self.beyond),
        ]

    async def open(self) -> None:
        assert self.client_wire.mux is not None
        opening = asyncio.ensure_future(self.client_wire.mux.open("session", Listening(self.ends[CLIENT])))
        while not opening.done():
            self.deliver_all()
            await asyncio.sleep(0)

    def deliver_all(self) -> None:
        while any(source.deliver(sink, 1000) for source, sink in self.wires()):
            pass

    async def settle(self) -> None:
        """Everything is delivered and taken."""
        for wire in (self.near, self.beyond):
            wire.choked = False
            assert wire.mux is not None
            wire.mux.writable()
        for end in self.ends.values():
            end.eat()
        for _ in range(5):  # replies come a turn later
            self.deliver_all()
            await asyncio.sleep(0)


def act(splice: Splice, who: str, what: str, size: int) -> None:
    end = splice.ends[who]
    channel = end.channel
    assert channel is not None
    over = end.closed or end.heard_close
    eof = "eof" in names(end.sent)
    if what in ("data", "errors") and not (over or eof):
        kind = m.DATA if what == "data" else m.STDERR
        data = os.urandom(min(size * 300, channel.room()))
        if data:
            channel.send(data, kind)
            note(end.sent, kind, data)
    elif what == "eof" and not (over or eof):
        channel.send_eof()
        note(end.sent, "eof")
    elif what in ("exit-status", "exit-signal", "other") and not over:
        channel.request(what, b"", size % 2 == 0)
        note(end.sent, what)
    elif what == "close" and not over:
        channel.close()
        end.closed = True
    elif what == "fast":
        end.hungry = False
    elif what == "eat":
        end.eat()
    elif what == "choke":
        (splice.near if who == CLIENT else splice.beyond).choked = True
    elif what == "deliver":
        for source, sink in splice.wires()[:2] if who == CLIENT else splice.wires()[2:]:
            source.deliver(sink, size)


WHAT = [
    *("data", "data", "errors", "eof", "exit-status", "exit-signal", "other", "close"),
    *("fast", "eat", "choke", "deliver", "deliver"),
]

ACTIONS = st.lists(
    st.tuples(st.sampled_from([CLIENT, FAR]), st.sampled_from(WHAT), st.integers(1, 9)), max_size=40
)


def in_order(events: list[Event]) -> list[Event]:
    """Without the requests that overtake data."""
    kept: list[Event] = []
    for kind, data in events:
        if kind != "other":
            note(kept, kind, data)
    return kept


def passed_on(events: list[Event]) -> list[Event]:
    """Without the requests behind an exit status, which was the last."""
    return [
        event
        for at, event in enumerate(events)
        if not isinstance(event[0], str) or event[0] == "eof" or "exit-status" not in names(events[:at])
    ]


def ended(end: End) -> bool:
    """Whether this end receives no more data: it closed, or its command ended."""
    return end.closed or {"exit-status", "eof"} <= set(names(end.sent))


async def play(actions: list[tuple[str, str, int]]) -> None:
    splice = Splice()
    await splice.open()
    for who, what, size in actions:
        act(splice, who, what, size)
        await asyncio.sleep(0)
    await splice.settle()
    client, far = splice.ends[CLIENT], splice.ends[FAR]
    for sender, receiver in ((client, far), (far, client)):
        sent, got = passed_on(sender.sent), receiver.got
        if not ended(receiver):
            assert in_order(got) == in_order(sent)
            assert names(got).count("other") == names(sent).count("other")
        if ended(sender):
            assert receiver.heard_close or receiver.closed
    for end in (client, far):
        assert end.channel is not None
        end.channel.close()
    await splice.settle()
    for wire in (splice.client_wire, splice.near, splice.beyond, splice.far_wire):
        assert wire.mux is not None
        assert (wire.mux.channels, wire.mux._granted) == (0, 0)


@settings(max_examples=examples(120))
@given(ACTIONS)
def test_what_is_sent_arrives(actions: list[tuple[str, str, int]]) -> None:
    with patch.multiple(m, WINDOW=3000, LEAST_WINDOW=1000, ALL_WINDOWS=100_000):
        asyncio.run(play(actions))
