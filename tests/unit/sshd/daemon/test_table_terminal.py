"""Every terminal mode and every signal that a client may request."""

from __future__ import annotations

import signal
import termios
from typing import Any

import pytest

from sshd.daemon import terminal
from sshd.daemon.children import ExitState
from sshd.daemon.command import SIGNALS, exit_message
from sshd.wire import boolean, string

pytestmark = pytest.mark.unit

INPUT, OUTPUT, CONTROL, LOCAL = 0, 1, 2, 3
CHARACTERS = 6
CONTROL_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
    18: "VDISCARD",
}
INPUT_FLAGS = {
    30: "IGNPAR",
    31: "PARMRK",
    32: "INPCK",
    33: "ISTRIP",
    34: "INLCR",
    35: "IGNCR",
    36: "ICRNL",
    38: "IXON",
    39: "IXANY",
    40: "IXOFF",
    41: "IMAXBEL",
}
LOCAL_FLAGS = {
    50: "ISIG",
    51: "ICANON",
    53: "ECHO",
    54: "ECHOE",
    55: "ECHOK",
    56: "ECHONL",
    57: "NOFLSH",
    58: "TOSTOP",
    59: "IEXTEN",
    60: "ECHOCTL",
    61: "ECHOKE",
}
OUTPUT_FLAGS = {70: "OPOST", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
CONTROL_FLAGS = {92: "PARENB", 93: "PARODD"}
PENDIN = 0o040000
FLAGS = [
    *((opcode, INPUT, getattr(termios, name)) for opcode, name in INPUT_FLAGS.items()),
    *((opcode, OUTPUT, getattr(termios, name)) for opcode, name in OUTPUT_FLAGS.items()),
    *((opcode, CONTROL, getattr(termios, name)) for opcode, name in CONTROL_FLAGS.items()),
    *((opcode, LOCAL, getattr(termios, name)) for opcode, name in LOCAL_FLAGS.items()),
    (62, LOCAL, PENDIN),
]
"""Opcode -> which of a terminal's attributes, and which bits of it."""
WITHOUT_EFFECT = (11, 15, 16, 17, 37, 52, 71, 128, 129)
UNKNOWN = (0, 19, 29, 42, 63, 76, 94, 127, 159)


class Terminal:
    """A terminal's attributes, all bits set or none."""

    def __init__(self, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.before = [bits, bits, bits, bits, 0, 0, [b"\x00"] * 32]
        self.after: list[Any] = []
        monkeypatch.setattr(termios, "tcgetattr", lambda _: [*self.before[:CHARACTERS], [b"\x00"] * 32])
        monkeypatch.setattr(termios, "tcsetattr", self._set)

    def _set(self, _: int, when: int, attributes: list[Any]) -> None:
        assert when == termios.TCSANOW
        self.after = attributes

    def changes(self) -> dict[int, Any]:
        """Attribute -> what it became."""
        return {
            index: after
            for index, (before, after) in enumerate(zip(self.before, self.after, strict=True))
            if before != after
        }


ALL = 0o37777777777


@pytest.mark.parametrize(("opcode", "attribute", "bits"), FLAGS)
def test_a_flag_is_set_and_cleared(
    opcode: int, attribute: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (1, 2, 0xFFFFFFFF):
        off = Terminal(0, monkeypatch)
        terminal.apply_modes(0, ((opcode, value),))
        assert off.changes() == {attribute: bits}
    on = Terminal(ALL, monkeypatch)
    terminal.apply_modes(0, ((opcode, 0),))
    assert on.changes() == {attribute: ALL & ~bits}


@pytest.mark.parametrize(("opcode", "name"), CONTROL_CHARACTERS.items())
def test_a_control_character_is_the_byte(opcode: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, byte in ((3, b"\x03"), (255, b"\xff"), (0x1FF, b"\xff")):
        there = Terminal(0, monkeypatch)
        terminal.apply_modes(0, ((opcode, value),))
        wanted = [b"\x00"] * 32
        wanted[getattr(termios, name)] = byte
        assert there.changes() == {CHARACTERS: wanted}


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(("opcode", "size"), [(90, termios.CS7), (91, termios.CS8)])
def test_either_size_of_characters_is_set_whatever_its_value(
    opcode: int, size: int, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Terminal(ALL, monkeypatch)
    terminal.apply_modes(0, ((opcode, value),))
    assert there.after[CONTROL] == ALL & ~termios.CSIZE | size


@pytest.mark.parametrize("opcode", [*WITHOUT_EFFECT, *UNKNOWN])
def test_what_has_no_effect(opcode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for bits, value in ((0, 1), (ALL, 0)):
        there = Terminal(bits, monkeypatch)
        terminal.apply_modes(0, ((opcode, value),))
        assert there.changes() == {}


def test_the_signals_a_client_may_name() -> None:
    names = "ABRT ALRM FPE HUP ILL INT KILL PIPE QUIT SEGV TERM USR1 USR2"
    assert names.split() == list(SIGNALS)


@pytest.mark.parametrize("number", sorted(signal.valid_signals()))
def test_the_name_of_what_killed_a_command(number: int) -> None:
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # one of those for real time that has no name
        name = ""
    known = name if name in SIGNALS else ""
    message = string(known.encode()) + boolean(False) + string(b"") * 2
    assert exit_message(ExitState(None, number)) == ("exit-signal", message)
