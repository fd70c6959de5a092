"""The SFTP server loop: reads packets from standard input and writes answers until the input ends."""

from __future__ import annotations

import os

from sshd.sftp import protocol as p
from sshd.sftp.requests import Requests
from sshd.wire import Malformed, Reader

CHUNK = 256 * 1024
BROKEN = 1
"""Exit status after an invalid packet: the channel closes without an answer."""


def serve(receive: int = 0, send: int = 1) -> int:
    """Serve and return the exit status: 0 if the client ended the session."""
    requests = Requests()
    buffer = b""
    try:
        while data := os.read(receive, CHUNK):
            buffer += data
            at = 0
            answers: list[bytes] = []
            while (found := _packet(buffer, at)) is not None:
                kind, body, at = found
                answers.append(p.version() if kind == p.INIT else requests.answer(kind, Reader(body)))
            buffer = buffer[at:]
            _write(send, b"".join(answers))
    except Malformed:
        return BROKEN
    except OSError:  # the client is gone
        return BROKEN
    return BROKEN if buffer else 0


def _packet(buffer: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Type and body of the packet at ``at``, and the offset of the next packet.

    None if the packet is incomplete.
    """
    if len(buffer) - at < 4:
        return None
    size = int.from_bytes(buffer[at : at + 4], "big")
    if not 1 <= size <= p.MAX_PACKET:
        raise Malformed(f"a packet of {size} bytes")
    end = at + 4 + size
    if len(buffer) < end:
        return None
    return buffer[at + 4], buffer[at + 5 : end], end


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
