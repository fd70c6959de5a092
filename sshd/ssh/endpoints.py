"""asyncssh's server and client connections with a public interface: offer, authentication, host keys.

Only this module and ``sshd.ssh.transport`` use private names of asyncssh.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from asyncssh.auth import lookup_server_auth
from asyncssh.connection import SSHClientConnection, SSHServerConnection
from asyncssh.packet import NameList, SSHPacket, String
from asyncssh.public_key import decode_ssh_public_key

from sshd.ssh import messages as m
from sshd.ssh.library import asyncssh
from sshd.ssh.transport import Transport


@dataclass(frozen=True, slots=True)
class Offer:
    """A server's offer, best first, and the extensions it announces."""

    key_exchanges: tuple[bytes, ...]
    ciphers: tuple[bytes, ...]
    macs: tuple[bytes, ...]
    host_key_signatures: tuple[bytes, ...]
    markers: tuple[bytes, ...]
    extensions: Mapping[bytes, bytes]


class ServerTransport(Transport, SSHServerConnection):
    """The server side, with our own offer; authentication requests go to hooks."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, offer: Offer) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self._offer = offer
        self._kex_algs = list(offer.key_exchanges)
        self._enc_algs = list(offer.ciphers)
        self._mac_algs = list(offer.macs)
        self._cmp_algs = [b"none"]
        self._server_host_key_algs = list(offer.host_key_signatures)
        self._host_key_pairs = OrderedDict(
            (name, self._server_host_keys[name]) for name in offer.host_key_signatures
        )

    # -- hooks --------------------------------------------------------------------------------------

    def service_requested(self, service: bytes) -> None:
        """A service request; :meth:`accept_service` answers it."""

    def authentication_requested(
        self, user: bytes, service: bytes, method: bytes, packet: SSHPacket
    ) -> Awaitable[None] | None:
        """An authentication attempt; ``packet`` has the remaining fields, for :meth:`attempt`."""

    # -- key exchange -------------------------------------------------------------------------------

    def _get_extra_kex_algs(self) -> list[bytes]:
        return list(self._offer.markers)

    def choose_server_host_key(self, peer_host_key_algs: Sequence[bytes]) -> bool:
        self._server_host_keys = self._host_key_pairs
        return super().choose_server_host_key(peer_host_key_algs)

    def _send_ext_info(self) -> None:
        self._extensions_to_send.clear()
        self._extensions_to_send.update(self._offer.extensions)
        super()._send_ext_info()

    def send_server_host_keys(self) -> None:
        """Do nothing: host keys are not announced."""

    # -- authentication -----------------------------------------------------------------------------

    @property
    def is_encrypted(self) -> bool:
        return self._recv_encryption is not None

    @property
    def takes_attempts(self) -> bool:
        """Whether an authentication request is valid now."""
        return self._auth_in_progress and not self._auth_complete and not self.lost()

    @property
    def user(self) -> str:
        """The user of the latest attempt."""
        return self._username

    def accept_service(self, service: bytes) -> None:
        self._next_service = None
        self.send_packet(m.SERVICE_ACCEPT, String(service))
        self._auth_in_progress = True
        self._can_recv_ext_info = False
        self._send_deferred_packets()

    def abandon_attempt(self) -> bool:
        """Forget an unanswered attempt; True if there was one."""
        if self._auth is None:
            return False
        self._auth.cancel()
        self._auth = None
        return True

    def begin_attempt(self, user: str) -> None:
        self._username = user

    def attempt(self, method: bytes, packet: SSHPacket) -> None:
        """Let asyncssh process the attempt; its methods call the subclass."""
        self._auth = lookup_server_auth(self, self._username, method, packet)

    def refuse_attempt(self, methods: Iterable[bytes]) -> None:
        self._auth = None
        self.send_packet(m.USERAUTH_FAILURE, NameList(list(methods)), b"\0")

    def forget_attempt(self) -> None:
        self._auth = None

    def is_signed(self, key_blob: bytes, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is a signature of this key for this connection."""
        return decode_ssh_public_key(key_blob).verify(String(self._session_id) + message, signature)

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        if pkttype == m.SERVICE_REQUEST:
            self.service_requested(packet.get_string())
            return True
        if pkttype == m.USERAUTH_REQUEST:
            user, service, method = packet.get_string(), packet.get_string(), packet.get_string()
            return self.authentication_requested(user, service, method, packet) or True
        return super().process_packet(pkttype, pktid, packet)


class ClientTransport(Transport, SSHClientConnection):
    """The client side; :meth:`accepts_host_key` decides about the server."""

    def __init__(
        self, options: asyncssh.SSHClientConnectionOptions, authenticated: asyncio.Future[None]
    ) -> None:
        options.waiter = authenticated
        super().__init__(asyncio.get_running_loop(), options, wait="auth")

    # -- hooks --------------------------------------------------------------------------------------

    def accepts_host_key(self, key_blob: bytes) -> bool:
        raise NotImplementedError

    def packet_processed(self) -> None:
        """asyncssh has handled a packet, which may have completed the authentication."""

    # -----------------------------------------------------------------------------------------------

    def validate_server_host_key(self, key_data: bytes) -> asyncssh.SSHKey:
        if not self.accepts_host_key(key_data):
            raise asyncssh.HostKeyNotVerifiable("Host fingerprint mismatch")
        self._server_host_key = decode_ssh_public_key(key_data)
        return self._server_host_key

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        result = super().process_packet(pkttype, pktid, packet)
        self.packet_processed()
        return result
