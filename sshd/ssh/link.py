"""asyncssh's transport as a link for our connection protocol.

asyncssh keeps what is security's business: key exchange, encryption, integrity, sequence numbers,
authentication. From the moment a user is authenticated the packets of the connection protocol go to a
:class:`~sshd.ssh.mux.Mux` instead of asyncssh's own channels, many per read and without a copy of the whole
buffer for each.

What is used of asyncssh beyond its public interface is the state of ``SSHConnection`` named in this file; the
version is pinned, and the tests in ``tests/unit/sshd`` talk to a stock OpenSSH through all of it.

Memory is bounded: a peer that does not read what it is sent, or stops in the middle of a key exchange, is not
read either, nor is the other connection of a splice that it is sent from.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING

from sshd.ssh import messages as m
from sshd.ssh.errors import ProtocolViolation
from sshd.ssh.library import asyncssh
from sshd.ssh.mux import Mux, MuxHandler

if TYPE_CHECKING:
    from asyncssh.connection import SSHConnection as _Base
else:
    _Base = object

from asyncssh.packet import PacketDecodeError, SSHPacket

ROOM = 512 * 1024
"""Bytes that may wait in the socket's buffer before bulk data has to."""

FLOODED = 16 * 1024 * 1024
"""Bytes that may wait for a peer that does not read them; then nothing is read that could add to them."""

MAX_DEFERRED = 10_000
"""Packets that may wait for the end of a key exchange."""


class MuxLink(_Base):
    """Mixed into asyncssh's server and client connections.

    ``idle_seconds`` is how long a connection may be silent in both directions (0: for ever).
    """

    idle_seconds: float = 0
    mux: Mux | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    _last_traffic = 0.0
    _choked = False
    _feeder: MuxLink | None = None
    _holds: frozenset[str] = frozenset()

    # -- life ---------------------------------------------------------------------------------------

    def start_mux(self, handler: MuxHandler) -> Mux:
        """From now on the connection protocol is ours."""
        self.mux = Mux(self, handler)
        return self.mux

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=ROOM)
        self._last_traffic = self._loop.time()
        if self.idle_seconds:
            self._idle_timer = self._loop.call_later(self.idle_seconds, self._check_idle)

    def _check_idle(self) -> None:
        quiet = self._loop.time() - self._last_traffic
        if quiet >= self.idle_seconds:
            self._force_close(TimeoutError(f"no traffic for {quiet:.0f} s"))
        else:
            self._idle_timer = self._loop.call_later(self.idle_seconds - quiet, self._check_idle)

    def _cleanup(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        mux, self.mux = self.mux, None
        super()._cleanup(exc)
        if mux is not None:
            mux.connection_lost(exc)

    def hang_up(self) -> None:
        """End the connection when everything sent is on its way, without a message."""
        if self._transport is not None:
            self._transport.close()

    def lost(self) -> bool:
        return self._transport is None

    def fed_by(self, feeder: MuxLink) -> None:
        """Say that this connection is sent what arrives on another one, which is held up with it."""
        self._feeder = feeder

    def hold(self, reason: str) -> None:
        """Read nothing more of the peer until every reason is released."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds |= {reason}

    def release(self, reason: str) -> None:
        held, self._holds = self._holds, self._holds - {reason}
        if held and not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- room ---------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        return not self._choked and self._transport is not None and self._kex_complete

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self.release("own buffer")
        if self._feeder is not None:
            self._feeder.release("buffer of the other")
        if self.mux is not None and self._kex_complete:
            self.mux.writable()

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._last_traffic = self._loop.time()
        transport.write(data)
        if self._choked and transport.get_write_buffer_size() > FLOODED:
            self.hold("own buffer")
            if self._feeder is not None:
                self._feeder.hold("buffer of the other")

    # -- packets out --------------------------------------------------------------------------------

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Frame, encrypt and send; before and during key exchanges as asyncssh does it."""
        encryption = self._send_encryption
        if (
            pkttype < m.GLOBAL_REQUEST
            or encryption is None
            or not (self._kex_complete and self._auth_complete)
            or self._rekey_bytes_sent >= self._rekey_bytes
        ):
            super().send_packet(pkttype, *args, handler=handler)  # type: ignore[arg-type]
            if self._deferred_packets and self.mux is not None:
                self._deferred()
            return
        payload = b"".join((bytes((pkttype,)), *args))
        block = self._send_blocksize
        padding = -(self._send_enchdrlen + len(payload)) % block
        if padding < 4:
            padding += block
        length = 1 + len(payload) + padding
        body, mac = encryption.encrypt_packet(
            self._send_seq,
            length.to_bytes(4, "big"),
            b"".join((bytes((padding,)), payload, os.urandom(padding))),
        )
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += length
        self._send(body + mac)

    def _deferred(self) -> None:
        """A packet waits for the end of a key exchange, which the peer may never finish."""
        if len(self._deferred_packets) > MAX_DEFERRED:
            self._deferred_packets.clear()
            self._force_close(ProtocolViolation("a key exchange that does not end"))
        elif self._feeder is not None:
            self._feeder.hold("key exchange of the other")

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        if self._feeder is not None and not self._deferred_packets:
            self._feeder.release("key exchange of the other")
        if self.mux is not None and self.has_room():  # a key exchange has ended
            self.mux.writable()

    # -- packets in ---------------------------------------------------------------------------------

    def _recv_data(self) -> None:
        self._last_traffic = self._loop.time()
        if self.mux is None or self._compressed():
            super()._recv_data()
            return
        try:
            self._receive_packets()
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)
        except (ProtocolViolation, PacketDecodeError) as error:
            self._send_disconnect(m.DISCONNECT_PROTOCOL_ERROR, str(error), "")
            self._force_close(error)
        except Exception:  # noqa: BLE001 - the edge of a connection: it ends, the others go on
            self.internal_error()

    def _recv_pkthdr(self) -> bool:
        """asyncssh's loop is at a packet's start: from the authenticated user on, ours takes over."""
        if self.mux is None or self._compressed():
            return super()._recv_pkthdr()
        self._receive_packets()
        return False

    def _compressed(self) -> bool:
        return self._decompressor is not None

    def _receive_packets(self) -> None:
        """Take all complete packets off the buffer, then cut it once."""
        buffer = memoryview(self._inpbuf)
        at, size = 0, len(buffer)
        while self._transport is not None and (encryption := self._recv_encryption) is not None:
            if self._recv_handler == self._recv_pkthdr:
                if size - at < self._recv_blocksize:
                    break
                first = bytes(buffer[at : at + self._recv_blocksize])
                at += self._recv_blocksize
                self._packet, length = encryption.decrypt_header(self._recv_seq, first, 4)
                self._pktlen = int.from_bytes(length, "big")
                if self._pktlen > self._max_recv_pktlen:
                    raise ProtocolViolation("packet too long")
                self._recv_handler = self._recv_packet
            elif self._recv_handler == self._recv_packet:
                end = at + 4 + self._pktlen - self._recv_blocksize
                if end < at:
                    raise ProtocolViolation("packet too short")
                if size < end + self._recv_macsize:
                    break
                plain = encryption.decrypt_packet(
                    self._recv_seq,
                    self._packet,
                    bytes(buffer[at:end]),
                    4,
                    bytes(buffer[end : end + self._recv_macsize]),
                )
                at = end + self._recv_macsize
                if not plain:
                    raise asyncssh.MACError("MAC verification failed")
                if not self._dispatch(plain[1 : len(plain) - plain[0]]):
                    break
            else:
                break  # a key exchange step is being computed
        buffer.release()
        self._inpbuf = self._inpbuf[at:] if self._transport is not None else b""

    def _dispatch(self, payload: bytes) -> bool:
        """Act on one packet; False when its handling goes on and the next one has to wait."""
        kind = payload[0] if payload else 0
        if m.GLOBAL_REQUEST <= kind <= m.CONNECTION_LAST and self.mux is not None:
            self.mux.packet_received(kind, payload)
        elif kind == m.PING:
            self.send_packet(m.PONG, payload[1:])
        else:
            packet = SSHPacket(payload)
            packet.get_byte()
            in_key_exchange = m.KEX_FIRST <= kind <= m.KEX_LAST
            handler = self._kex if in_key_exchange else self
            if handler is None:
                raise ProtocolViolation("key exchange not in progress")
            result = handler.process_packet(kind, self._recv_seq, packet)
            if inspect.isawaitable(result):
                self._recv_handler = _wait
                sequence = self._recv_seq
                task = self.create_task(result)
                task.add_done_callback(lambda _: self._finish_recv_packet(kind, sequence, is_async=True))
                return False
            if not result:
                self.send_packet(m.UNIMPLEMENTED, self._recv_seq.to_bytes(4, "big"))
        self._finish_recv_packet(kind, self._recv_seq)
        return True


def _wait() -> bool:
    """Receive handler while a packet is being dealt with: nothing is taken off the buffer."""
    return False
