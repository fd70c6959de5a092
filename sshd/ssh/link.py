"""A connection that carries our connection protocol, with bounded memory.

After authentication, the packets of the connection protocol go to a :class:`~sshd.ssh.mux.Mux` instead of
asyncssh's own channels.

Reading from a peer stops while the peer does not read its own data, and while received packets wait to be
handled. The other connection of a splice, which feeds this peer, is held as well, also during the peer's key
exchange.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sshd.ssh.messages import ProtocolViolation
from sshd.ssh.mux import Mux, MuxHandler
from sshd.ssh.transport import Transport

WRITE_BUFFER = 512 * 1024
"""Bytes in the socket's buffer above which bulk data waits."""

MAX_UNSENT = 2 * 1024 * 1024
"""Bytes waiting for a peer above which nothing that could add to them is read."""

MAX_DEFERRED = 10_000
"""Limit of packets that wait for the end of a key exchange."""

_TURN = "its turn is over"
_OWN, _OTHER, _KEYS = "own buffer", "buffer of the other", "key exchange of the other"


class MuxLink(Transport):
    """Mixin for the server's and the client's transport.

    ``idle_seconds`` is the longest silence in both directions (0: no limit).
    """

    idle_seconds: float = 0
    mux: Mux | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    _last_traffic = 0.0
    _now: Callable[[], float] = staticmethod(time.monotonic)
    _write_paused = False
    _next_turn: asyncio.Handle | None = None
    _feeder: MuxLink | None = None
    _holds: frozenset[str] = frozenset()

    # -- lifecycle -----------------------------------------------------------------------------------

    def start_mux(self, handler: MuxHandler) -> Mux:
        """Switch to our connection protocol."""
        self.mux = Mux(self, handler)
        self.take_over()
        return self.mux

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=WRITE_BUFFER)
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

    def set_feeder(self, feeder: MuxLink) -> None:
        """Register the connection whose input is sent on this one; both are held together."""
        self._feeder = feeder

    def hold(self, reason: str) -> None:
        """Stop reading from the peer until every reason is released."""
        if not self._holds:
            self.pause_input()
        self._holds |= {reason}

    def release(self, reason: str) -> None:
        held, self._holds = self._holds, self._holds - {reason}
        if held and not self._holds:
            self.resume_input()

    # -- room ---------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return not self._write_paused and self.can_send

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.release(_OWN)
        if self._feeder is not None:
            self._feeder.release(_OTHER)
        self._wake()

    def _wake(self) -> None:
        if self.mux is not None and self.has_room():
            self.mux.writable()

    def output_written(self, transport: asyncio.Transport) -> None:
        self._last_traffic = self._now()
        if self._write_paused and transport.get_write_buffer_size() > MAX_UNSENT:
            self.hold(_OWN)
            if self._feeder is not None:
                self._feeder.hold(_OTHER)

    def packet_deferred(self, count: int) -> None:
        """Bound the packets of a key exchange that the peer may never finish."""
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
