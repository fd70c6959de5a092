"""Numbers of the protocol (RFC 4250, 4254, 8308): message types, refusal reasons, sizes; its errors."""

from __future__ import annotations

IGNORE = 2
UNIMPLEMENTED = 3
SERVICE_REQUEST = 5
SERVICE_ACCEPT = 6
KEXINIT = 20
KEX_FIRST, KEX_LAST = 30, 49
USERAUTH_REQUEST = 50
USERAUTH_FAILURE = 51
GLOBAL_REQUEST = 80
REQUEST_SUCCESS = 81
REQUEST_FAILURE = 82
CHANNEL_OPEN = 90
CHANNEL_OPEN_CONFIRMATION = 91
CHANNEL_OPEN_FAILURE = 92
CHANNEL_WINDOW_ADJUST = 93
CHANNEL_DATA = 94
CHANNEL_EXTENDED_DATA = 95
CHANNEL_EOF = 96
CHANNEL_CLOSE = 97
CHANNEL_REQUEST = 98
CHANNEL_SUCCESS = 99
CHANNEL_FAILURE = 100
CONNECTION_LAST = 127
PING = 192
PONG = 193

OPEN_CONNECT_FAILED = 2
OPEN_UNKNOWN_CHANNEL_TYPE = 3
OPEN_RESOURCE_SHORTAGE = 4

DISCONNECT_PROTOCOL_ERROR = 2

DATA = 0
"""Kind of ordinary channel data; other kinds are the type codes of extended data."""
STDERR = 1

WINDOW = 2 * 1024 * 1024
"""Window of one channel in bytes; the same as in Go's library."""
ALL_WINDOWS = 4 * 1024 * 1024
"""Bytes granted to one connection after which new channels get only :data:`LEAST_WINDOW`."""
LEAST_WINDOW = 32768
"""Smallest window in bytes: one packet."""
MAX_PACKET = 32768
"""Bytes of data in one packet, the size every implementation must accept."""
LEAST_MAX_PACKET = 9
"""Smallest maximum packet size in bytes that a peer may set; the same as in Go's library."""
MAX_CHANNELS = 256
"""Limit of open channels per connection; more are refused with "resource shortage"."""


class ProtocolViolation(Exception):
    """The peer violated the connection protocol; the connection must end."""


class OpenRefused(Exception):
    """The peer refused to open a channel: reason code and text."""

    def __init__(self, reason: int, text: str, language: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.language = language
