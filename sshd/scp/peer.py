"""The peer of a transfer: input, output, acknowledgements."""

from __future__ import annotations

import os

CHUNK = 256 * 1024

OK = b"\0"

MAX_DEPTH = 256
"""Limit of nested directories; a path of 4096 bytes has hardly more."""


class TransferError(Exception):
    """A file or the whole transfer failed; the text is sent to the peer."""


class Peer:
    """Standard input, output and error of the transfer."""

    def __init__(self, receive: int = 0, send: int = 1, errors: int = 2) -> None:
        self._receive = receive
        self._send = send
        self._errors = errors
        self._buffer = b""

    def send(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._send, view) :]

    def announce(self, error: Exception) -> None:
        """Report a failure to the peer."""
        self.send(b"\1scp: " + str(error).encode("utf-8", "surrogateescape") + b"\n")

    def read_some(self, limit: int) -> bytes:
        """At least one and at most ``limit`` bytes; empty at the end of input."""
        if not self._buffer:
            self._buffer = os.read(self._receive, CHUNK)
        data, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return data

    def read_line(self) -> str:
        """A line without its newline. Raises :class:`TransferError` at the end of input."""
        line = b""
        while True:
            found = self._buffer.find(b"\n")
            if found >= 0:
                line += self._buffer[:found]
                self._buffer = self._buffer[found + 1 :]
                return line.decode("utf-8", "surrogateescape")
            line += self._buffer
            self._buffer = os.read(self._receive, CHUNK)
            if not self._buffer or len(line) > CHUNK:
                raise TransferError("EOF")

    def acknowledge(self) -> None:
        self.send(OK)

    def await_acknowledgement(self) -> None:
        """Wait for the acknowledgement. A warning goes to standard error; an error raises
        :class:`TransferError`.
        """
        kind = self.read_some(1)
        if not kind:
            raise TransferError("EOF")
        if kind == OK:
            return
        if kind not in (b"\1", b"\2"):
            raise TransferError(f"invalid acknowledgement identifier: {kind[0]:x}")
        text = self.read_line()
        if kind == b"\2":
            raise TransferError(text)
        os.write(self._errors, text.encode("utf-8", "surrogateescape"))
