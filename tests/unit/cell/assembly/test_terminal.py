"""Texts of apps on a terminal: no control sequences except colours take effect."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cell.assembly.console import ConsoleSink, instance_label, shown
from cell.assembly.terminal import one_line, visible, visible_lines
from cell.client.output import Output
from cell.runner.views.live import _log_line
from executor.logs.api import LogLine, Stream

pytestmark = pytest.mark.unit

TITLE = "\x1b]0;owned\x07"
CLIPBOARD = "\x1b]52;c;ZWNobyBvd25lZA==\x1b\\"
CLEAR = "\x1b[2J\x1b[H"
RED = "\x1b[1;38;5;9mred\x1b[0m"

SGR = re.compile(r"\x1b\[[0-9;:]*m")


def obeyed(text: str) -> set[str]:
    """Characters of a text that a terminal does not just show."""
    rest = SGR.sub("", text)
    return {
        letter
        for letter in rest
        if letter != "\t"
        and (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in "\u202a\u202e\u2066\u2069")
    }


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (TITLE, "\ufffd]0;owned\ufffd"),
        (CLIPBOARD, "\ufffd]52;c;ZWNobyBvd25lZA==\ufffd\\"),
        (CLEAR, "\ufffd[2J\ufffd[H"),
        ("\x9b2J\x9d0;x\x9c", "\ufffd2J\ufffd0;x\ufffd"),
        ("[web/0 APP] OUT\rfake", "[web/0 APP] OUT\ufffdfake"),
        ("ends as on Windows\r", "ends as on Windows"),
        ("a\tb\x00\x08\x7f", "a\tb\ufffd\ufffd\ufffd"),
        ("abc\u202edef\u2066", "abc\ufffddef\ufffd"),
        ("\u2028\ud800", "\ufffd\ufffd"),
        (
            "naïve \N{WOMAN}\u200d\N{PERSONAL COMPUTER} \xa0 \ue0b0",
            "naïve \N{WOMAN}\u200d\N{PERSONAL COMPUTER} \xa0 \ue0b0",
        ),
        (f"{RED} plain", f"{RED} plain\x1b[0m"),
        (RED, RED),
        ("\x1b[32mgreen, and not closed", "\x1b[32mgreen, and not closed\x1b[0m"),
        ("\x1b[" + "1;" * 100 + "m", "\ufffd[" + "1;" * 100 + "m"),
        ("\x1b[31", "\ufffd[31"),
        ("\x1b[?25l\x1b[6n", "\ufffd[?25l\ufffd[6n"),
    ],
)
def test_a_line_with_colours(written: str, seen: str) -> None:
    """Titles, clipboard, clearing, cursor, overwriting and reversal are shown; colours stay and end."""
    assert visible(written, colours=True) == seen


def test_a_line_without_colours() -> None:
    assert visible("\x1b[31mred\x1b[0m") == "\ufffd[31mred\ufffd[0m"
    assert one_line("two\nlines\x1b[2J\t of\rtext ") == "two lines\ufffd[2J of text"
    assert visible_lines(f"{TITLE}\n{RED}") == f"\ufffd]0;owned\ufffd\n{RED}"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]m;0\x9b\x07\r\n\t"))))
def test_nothing_is_obeyed(text: str) -> None:
    for seen in (visible(text), visible(text, colours=True)):
        assert obeyed(seen) == set()
    assert obeyed(visible_lines(text).replace("\n", "")) == set()


# -- everywhere an app's text is shown ------------------------------------------------------------------


def line(text: str, source: str = "web") -> LogLine:
    return LogLine(text.encode(errors="surrogateescape"), Stream.OUT, source, "0", "APP", 1)


def test_the_console_of_a_development_cell() -> None:
    seen = shown(line(TITLE + RED, source="w\x1b]0;x\x07eb"), instance_label, colour=True)
    assert obeyed(seen) == set()
    assert RED in seen


def test_a_run_that_is_printed_plainly() -> None:
    out = io.StringIO()
    ConsoleSink(out).emit(line(CLEAR + RED))
    assert out.getvalue() == f"[APP] OUT \ufffd[2J\ufffd[H{RED}\n"


def test_the_picture_of_a_run() -> None:
    """Colours of the app are colours there too, not characters."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=80, color_system="standard").print(
        _log_line(line(TITLE + RED))
    )
    assert obeyed(out.getvalue().rstrip("\n")) == set()
    assert "[1;38" not in SGR.sub("", out.getvalue())
    assert "red" in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("words", [{"table": True, "json": False}, {"table": False, "json": True}])
def test_the_commands_on_a_terminal(words: dict[str, bool]) -> None:
    """`cell logs`, tables and JSON alike."""
    screen = Terminal()
    Output.chosen(screen, **words).line(f"APP {CLIPBOARD}\x9b2J\nnext")
    assert obeyed(screen.getvalue().replace("\n", "")) == set()
    assert screen.getvalue().endswith("\nnext\n")


def test_programs_get_what_was_written() -> None:
    pipe = io.StringIO()
    Output.chosen(pipe, table=False, json=False).line(CLIPBOARD)
    assert pipe.getvalue() == f"{CLIPBOARD}\n"
