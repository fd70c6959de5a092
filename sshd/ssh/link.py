"""A connection that carries our connection protocol, with bounds on what it keeps in memory.

From the moment a user is authenticated the packets of the connection protocol go to a
:class:`~sshd.ssh.mux.Mux` instead of asyncssh's own channels.

A peer that does not read what it is sent, or stops in the middle of a key exchange, is not read either. The
other connection of a splice, which feeds it, is held up with it. A peer that sends faster than its packets
are handled is not read until they are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sshd.ssh.errors import ProtocolViolation
from sshd.ssh.mux import Mux, MuxHandler
from sshd.ssh.transport import Transport

ROOM = 512 * 1024
"""Bytes that may wait in the socket's buffer before bulk data has to."""

FLOODED = 2 * 1024 * 1024
"""Bytes that may wait for a peer that does not read them; then nothing is read that could add to them."""

MAX_DEFERRED = 10_000
"""Packets that may wait for the end of a key exchange."""

_TURN = "its turn is over"
_OWN, _OTHER, _KEYS = "own buffer", "buffer of the other", "key exchange of the other"


class MuxLink(Transport):
    """Mixed into the server's and the client's transport.

    ``idle_seconds`` is how long a connection may be silent in both directions (0: for ever).
    """

    idle_seconds: float = 0
    mux: Mux | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    _last_traffic = 0.0
    _now: Callable[[], float] = staticmethod(time.monotonic)
    _choked = False
    _next_turn: asyncio.Handle | None = None
    _feeder: MuxLink | None = None
    _holds: frozenset[str] = frozenset()

    # -- life ---------------------------------------------------------------------------------------

    def start_mux(self, handler: MuxHandler) -> Mux:
        """From now on the connection protocol is ours."""
        self.mux = Mux(self, handler)
        self.take_over()
        return self.mux

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=ROOM)
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._last_traffic = loop.time()
        if self.idle_seconds:
            self._idle_timer = loop.call_later(self.idle_seconds, self._check_idle)

    def _check_idle(self) -> None:
        loop = asyncio.get_running_loop()
        quiet = loop.time() - self._last_traffic
        if quiet >= self.idle_seconds:
            self.drop(TimeoutError(f"no traffic for {quiet:.0f} s"))
        else:
            self._idle_timer = loop.call_later(self.idle_seconds - quiet, self._check_idle)

    def ended(self, error: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
        mux, self.mux = self.mux, None
        if mux is not None:
            mux.connection_lost(error)

    def fed_by(self, feeder: MuxLink) -> None:
        """Say that this connection is sent what arrives on another one, which is held up with it."""
        self._feeder = feeder

    def hold(self, reason: str) -> None:
        """Read nothing more of the peer until every reason is released."""
        if not self._holds:
            self.pause_input()
        self._holds |= {reason}

    def release(self, reason: str) -> None:
        held, self._holds = self._holds, self._holds - {reason}
        if held and not self._holds:
            self.resume_input()

    # -- room ---------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return not self._choked and self.can_send

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self.release(_OWN)
        if self._feeder is not None:
            self._feeder.release(_OTHER)
        self._wake()

    def _wake(self) -> None:
        if self.mux is not None and self.has_room():
            self.mux.writable()

    def output_written(self, transport: asyncio.Transport) -> None:
        self._last_traffic = self._now()
        if self._choked and transport.get_write_buffer_size() > FLOODED:
            self.hold(_OWN)
            if self._feeder is not None:
                self._feeder.hold(_OTHER)

    def packet_deferred(self, count: int) -> None:
        """The peer may never finish its key exchange."""
        if count > MAX_DEFERRED:
            self.drop(ProtocolViolation("a key exchange that does not end"))
        elif self._feeder is not None:
            self._feeder.hold(_KEYS)

    def packets_released(self) -> None:
        if self._feeder is not None and not self.deferred:
            self._feeder.release(_KEYS)
        self._wake()

    # -- packets in ---------------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: object = None) -> None:
        self._last_traffic = self._now()
        super().data_received(data)

    def packet_arrived(self, kind: int, payload: bytes) -> None:
        if self.mux is not None:
            self.mux.packet_received(kind, payload)

    def turn_over(self) -> None:
        self.hold(_TURN)
        if self._next_turn is None:
            self._next_turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._next_turn = None
        self.next_turn()
        if self._next_turn is None:
            self.release(_TURN)
