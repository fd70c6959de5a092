"""asyncssh's connections with a public interface: packets, turns of the event loop, lifecycle.

Only this module and ``sshd.ssh.endpoints`` use private names of asyncssh.

asyncssh does the security-critical work: key exchange, encryption, integrity, sequence numbers,
authentication. This module replaces three things. It frames and parses packets of an authenticated connection
without asyncssh's copy of the whole buffer and its extra packet, which cost 17 % of the CPU time of a copy.
It handles a few packets at a time, so that other connections get their turn. It bounds the memory of a peer
before authentication.

:func:`check_names` runs at import: another version of asyncssh, or a missing name, fails with a clear error
instead of breaking a connection later.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from typing import TYPE_CHECKING

from asyncssh.connection import SSHClientConnection, SSHConnection, SSHServerConnection
from asyncssh.packet import PacketDecodeError, SSHPacket, SSHPacketLogger

from sshd.ssh import messages as m
from sshd.ssh.library import LibraryMismatch, asyncssh
from sshd.ssh.messages import ProtocolViolation

if TYPE_CHECKING:
    from asyncssh.connection import SSHConnection as _Base
else:
    _Base = object

PACKETS_PER_TURN = 64
"""Packets of one connection that are handled per turn of the event loop."""

PACKETS_BEFORE_AUTHENTICATION = 256
"""Limit before authentication. A client with six keys sends fewer than 30."""

UNREAD_BEFORE_AUTHENTICATION = 64 * 1024
"""Bytes that may wait for an unauthenticated peer; above the limit it is disconnected."""

PACKET_BEFORE_AUTHENTICATION = 64 * 1024
"""Bytes of one packet; the longest user keys and signatures need a quarter of it."""

USED_ATTRIBUTES = frozenset(
    (
        *("_auth", "_auth_complete", "_auth_in_progress", "_can_recv_ext_info", "_cmp_algs"),
        *("_deferred_packets", "_enc_algs", "_extensions_to_send", "_ignore_first_kex"),
        *("_inpbuf", "_kex", "_kex_algs", "_kex_complete", "_mac_algs", "_max_recv_pktlen"),
        *("_next_service", "_packet", "_peer_addr", "_peer_port", "_pktlen", "_recv_blocksize"),
        *("_recv_encryption", "_recv_handler", "_recv_macsize", "_recv_seq", "_rekey_bytes"),
        *("_rekey_bytes_sent", "_rekey_seconds", "_rekey_time", "_send_blocksize", "_send_enchdrlen"),
        *("_send_encryption", "_send_seq", "_server_host_key_algs", "_session_id", "_transport", "_username"),
    )
)
USED_SERVER_ATTRIBUTES = frozenset({"_server_host_keys"})
USED_CLIENT_ATTRIBUTES = frozenset({"_server_host_key"})
USED_METHODS = frozenset(
    (
        *("_cleanup", "_finish_recv_packet", "_force_close", "_get_extra_kex_algs", "_recv_data"),
        *("_recv_packet", "_recv_pkthdr", "_send", "_send_deferred_packets", "_send_disconnect"),
        "_send_ext_info",
    )
)


def check_names(
    connection: type = SSHConnection,
    server: type = SSHServerConnection,
    client: type = SSHClientConnection,
) -> None:
    """Raises :class:`LibraryMismatch` if a name used here is missing."""
    missing = {name for name in USED_METHODS if not callable(getattr(connection, name, None))}
    for kind, names in (
        (connection, USED_ATTRIBUTES),
        (server, USED_SERVER_ATTRIBUTES),
        (client, USED_CLIENT_ATTRIBUTES),
    ):
        missing |= names - set(kind.__init__.__code__.co_names)  # type: ignore[misc] # of a class, not an instance
    if missing:
        raise LibraryMismatch(
            f"asyncssh {asyncssh.__version__} has no {', '.join(sorted(missing))}: "
            "install the version that constraints.txt pins"
        )


check_names()


class Transport(_Base):
    """Mixin for asyncssh's server and client connections.

    Subclasses override the hooks; here each hook does nothing.
    """

    _took_over = False
    _packets_before = 0
    _longest_packet = 0

    # -- hooks --------------------------------------------------------------------------------------

    def packet_arrived(self, kind: int, payload: bytes) -> None:
        """A packet of the connection protocol arrived; only after :meth:`take_over`."""

    def output_written(self, transport: asyncio.Transport) -> None:
        """Bytes were written to the socket or its buffer."""

    def turn_over(self) -> None:
        """More packets wait than one turn handles; :meth:`next_turn` continues."""

    def packet_deferred(self, count: int) -> None:
        """``count`` packets wait for the end of a key exchange."""

    def packets_released(self) -> None:
        """A key exchange ended; ``deferred`` is the number of packets that still wait."""

    def ended(self, error: Exception | None) -> None:
        """The connection ended."""

    # -- state --------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Send packets of the connection protocol to :meth:`packet_arrived` from now on."""
        self._took_over = True
        self._max_recv_pktlen = self._longest_packet

    @property
    def is_authenticated(self) -> bool:
        return self._auth_complete

    @property
    def deferred(self) -> int:
        """Number of packets that wait for the end of a key exchange."""
        return len(self._deferred_packets)

    @property
    def can_send(self) -> bool:
        """Whether the connection is open and not in a key exchange."""
        return self._transport is not None and self._kex_complete

    @property
    def peer(self) -> str:
        """``address:port`` of the other end."""
        host = f"[{self._peer_addr}]" if ":" in self._peer_addr else self._peer_addr
        return f"{host}:{self._peer_port}"

    def lost(self) -> bool:
        return self._transport is None

    # -- lifecycle -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._longest_packet = self._max_recv_pktlen
        self._max_recv_pktlen = PACKET_BEFORE_AUTHENTICATION
        super().connection_made(transport)

    def drop(self, error: Exception | None) -> None:
        """End the connection at once and discard unhandled input."""
        self._inpbuf = b""
        self._deferred_packets.clear()
        self._force_close(error)

    def disconnect_for(self, reason: str) -> None:
        """Send the peer a disconnect message for a protocol error, and end the connection."""
        self._send_disconnect(m.DISCONNECT_PROTOCOL_ERROR, reason, "")
        self.drop(ProtocolViolation(reason))

    def hang_up(self) -> None:
        """End the connection without a message after everything has been sent."""
        if self._transport is not None:
            self._transport.close()

    def pause_input(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_input(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        self.ended(exc)

    # -- packets out --------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if not self._auth_complete and transport.get_write_buffer_size() > UNREAD_BEFORE_AUTHENTICATION:
            self.drop(ProtocolViolation("nothing is read of what is sent before authentication"))
        else:
            self.output_written(transport)

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        """Frame, encrypt and send; before and during key exchanges asyncssh does it."""
        encryption = self._send_encryption
        if (
            pkttype < m.GLOBAL_REQUEST
            or encryption is None
            or not (self._kex_complete and self._auth_complete)
            or self._rekey_bytes_sent >= self._rekey_bytes
            or (self._rekey_seconds and time.monotonic() >= self._rekey_time)
        ):
            super().send_packet(pkttype, *args, handler=handler)
            if self._deferred_packets and self._took_over:
                self.packet_deferred(len(self._deferred_packets))
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

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self.packets_released()

    # -- packets in ---------------------------------------------------------------------------------

    def next_turn(self) -> None:
        """Continue after :meth:`turn_over`."""
        if self._transport is not None:
            self._recv_data()

    def _recv_data(self) -> None:
        if not self._took_over:
            super()._recv_data()
            return
        try:
            self._receive_packets()
        except asyncssh.DisconnectError as error:
            self._send_disconnect(error.code, error.reason, error.lang)
            self.drop(error)
        except (ProtocolViolation, PacketDecodeError) as error:
            self.disconnect_for(str(error))
        except Exception:  # noqa: BLE001 - the edge of a connection: it ends, the others go on
            self.internal_error()

    def _recv_pkthdr(self) -> bool:
        """asyncssh's loop is at the start of a packet: after authentication, our loop takes over."""
        if not self._took_over:
            return super()._recv_pkthdr()
        self._receive_packets()
        return False

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: asyncio.Task[None] | None = None, is_async: bool = False
    ) -> None:
        if not self._auth_complete:
            self._packets_before += 1
            if self._packets_before > PACKETS_BEFORE_AUTHENTICATION and self._transport is not None:
                self.disconnect_for("too many packets before authentication")
        super()._finish_recv_packet(pkttype, seq, _task, is_async)

    def _receive_packets(self) -> None:
        """Take the complete packets of one turn off the buffer, then cut the buffer once."""
        buffer = memoryview(self._inpbuf)
        at, size = 0, len(buffer)
        left = PACKETS_PER_TURN
        while self._transport is not None and (encryption := self._recv_encryption) is not None:
            if self._recv_handler == self._recv_pkthdr:
                if size - at < self._recv_blocksize:
                    break
                if not left:
                    self.turn_over()
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
                left -= 1
                if not plain:
                    raise asyncssh.MACError("MAC verification failed")
                if not self._dispatch(plain[1 : len(plain) - plain[0]]):
                    break
            else:
                break  # a key exchange step is being computed
        buffer.release()
        self._inpbuf = self._inpbuf[at:] if self._transport is not None else b""

    def _dispatch(self, payload: bytes) -> bool:
        """Handle one packet; False if the handling is unfinished and the next packet must wait."""
        kind = payload[0] if payload else 0
        if m.GLOBAL_REQUEST <= kind <= m.CONNECTION_LAST:
            self.packet_arrived(kind, payload)
        elif kind == m.PING:
            self.send_packet(m.PONG, payload[1:])
        elif m.KEX_FIRST <= kind <= m.KEX_LAST and self._ignore_first_kex:
            self._ignore_first_kex = False  # the peer guessed the key exchange wrongly (RFC 4253, 7.1)
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
    """Receive handler during the handling of a packet: takes nothing off the buffer."""
    return False
