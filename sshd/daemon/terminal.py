"""Terminal modes and size of a ``pty-req`` (RFC 4254, section 8)."""

from __future__ import annotations

import contextlib
import fcntl
import struct
import termios
from dataclasses import dataclass

from sshd.wire import Malformed, Reader

_CONTROL_CHARACTERS = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    6: termios.VEOL,
    7: termios.VEOL2,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
    12: termios.VREPRINT,
    13: termios.VWERASE,
    14: termios.VLNEXT,
    18: termios.VDISCARD,
}

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6

_PENDIN = 0o040000
"""Missing from the ``termios`` module; value from Linux."""

_FLAGS: dict[int, tuple[int, int]] = {
    30: (_IFLAG, termios.IGNPAR),
    31: (_IFLAG, termios.PARMRK),
    32: (_IFLAG, termios.INPCK),
    33: (_IFLAG, termios.ISTRIP),
    34: (_IFLAG, termios.INLCR),
    35: (_IFLAG, termios.IGNCR),
    36: (_IFLAG, termios.ICRNL),
    38: (_IFLAG, termios.IXON),
    39: (_IFLAG, termios.IXANY),
    40: (_IFLAG, termios.IXOFF),
    41: (_IFLAG, termios.IMAXBEL),
    50: (_LFLAG, termios.ISIG),
    51: (_LFLAG, termios.ICANON),
    53: (_LFLAG, termios.ECHO),
    54: (_LFLAG, termios.ECHOE),
    55: (_LFLAG, termios.ECHOK),
    56: (_LFLAG, termios.ECHONL),
    57: (_LFLAG, termios.NOFLSH),
    58: (_LFLAG, termios.TOSTOP),
    59: (_LFLAG, termios.IEXTEN),
    60: (_LFLAG, termios.ECHOCTL),
    61: (_LFLAG, termios.ECHOKE),
    62: (_LFLAG, _PENDIN),
    70: (_OFLAG, termios.OPOST),
    72: (_OFLAG, termios.ONLCR),
    73: (_OFLAG, termios.OCRNL),
    74: (_OFLAG, termios.ONOCR),
    75: (_OFLAG, termios.ONLRET),
    92: (_CFLAG, termios.PARENB),
    93: (_CFLAG, termios.PARODD),
}

_CHARACTER_SIZES = {90: termios.CS7, 91: termios.CS8}
"""Each of these opcodes sets the size, whatever its value."""

_LAST_OPCODE = 160


@dataclass(frozen=True, slots=True)
class PtyRequest:
    """The terminal a client requests. ``modes`` are (opcode, value) pairs in the order sent."""

    term: str
    columns: int
    rows: int
    modes: tuple[tuple[int, int], ...]


def parse_pty_request(payload: bytes) -> PtyRequest:
    """Raises :class:`Malformed`."""
    reader = Reader(payload)
    term = reader.text()
    columns, rows = reader.uint32(), reader.uint32()
    reader.uint32(), reader.uint32()  # size in pixels
    encoded = reader.string()
    reader.end()
    return PtyRequest(term, columns, rows, _parse_modes(encoded))


def parse_window_change(payload: bytes) -> tuple[int, int]:
    """Columns and rows. Raises :class:`Malformed`."""
    reader = Reader(payload)
    columns, rows = reader.uint32(), reader.uint32()
    reader.uint32(), reader.uint32()
    reader.end()
    return columns, rows


def _parse_modes(encoded: bytes) -> tuple[tuple[int, int], ...]:
    reader = Reader(encoded)
    modes: dict[int, int] = {}  # of repeated modes the last counts, in its position
    try:
        while (opcode := reader.byte()) != 0 and opcode < _LAST_OPCODE:
            value = reader.uint32()
            modes.pop(opcode, None)
            modes[opcode] = value
    except Malformed:
        pass  # the list may end without its terminator
    return tuple(modes.items())


def apply_modes(terminal: int, modes: tuple[tuple[int, int], ...]) -> None:
    """Set the supported modes. ``terminal`` is a descriptor of either end of the pair."""
    attributes = termios.tcgetattr(terminal)
    for opcode, value in modes:
        if opcode in _CONTROL_CHARACTERS:
            attributes[_CC][_CONTROL_CHARACTERS[opcode]] = bytes((value & 0xFF,))
        elif opcode in _CHARACTER_SIZES:
            attributes[_CFLAG] = attributes[_CFLAG] & ~termios.CSIZE | _CHARACTER_SIZES[opcode]
        elif opcode in _FLAGS:
            field, flag = _FLAGS[opcode]
            attributes[field] = attributes[field] | flag if value else attributes[field] & ~flag
    # Parity and 7 bits do not work on a pseudo terminal; the other modes are set then, too.
    with contextlib.suppress(termios.error):
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Set the terminal's size; the kernel sends SIGWINCH to the foreground processes."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))
