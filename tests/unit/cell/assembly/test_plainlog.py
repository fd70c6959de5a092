"""The component log as text for people, and when it is text."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from cell.assembly import lagerlog
from cell.assembly.logwriter import LogWriter
from cell.assembly.plainlog import PlainFormatter
from common.logsubject import about
from rep.redaction import REDACTED, Redaction
from tests.support.loglevels import kept_levels
from tests.support.waiting import until

pytestmark = pytest.mark.unit

CLOCK = re.compile(r"\d\d:\d\d:\d\d\.\d{3} ")


def record(message: str, level: int = logging.INFO, **data: Any) -> logging.LogRecord:
    made = logging.LogRecord("rep.test", level, __file__, 1, message, None, None)
    made.data = data
    return made


def text(formatter: PlainFormatter, made: logging.LogRecord) -> str:
    found = formatter.format(made)
    assert CLOCK.match(found)
    return CLOCK.sub("", found, count=1)


def test_data_are_words_where_they_can_be() -> None:
    made = record("started", guid="5c2e", count=3, error='no such "image"', keys=["a"], none=None, empty="")
    assert text(PlainFormatter("rep"), made) == (
        'INFO  rep.started guid=5c2e count=3 error="no such \\"image\\"" keys=["a"] none=null empty=""'
    )
    assert text(PlainFormatter("rep"), record("started", logging.ERROR)) == "ERROR rep.started"


def test_a_traceback_has_its_own_lines() -> None:
    try:
        raise ValueError("broken\x1b[2J")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    first, *trace = text(PlainFormatter("rep"), made).splitlines()
    assert first.startswith("INFO  rep.failed error=")
    assert trace[0] == "    Traceback (most recent call last):"
    assert trace[-1].startswith("    ValueError: broken")
    assert "\x1b" not in "".join([first, *trace])


@pytest.mark.parametrize("hostile", ["\x1b]0;title\x07", "a\nINFO  rep.forged", "\u202etxt", "\x9b31m"])
def test_text_of_an_app_is_displayed_and_not_executed(hostile: str) -> None:
    shown = text(PlainFormatter("rep"), record("said", text=hostile))
    assert len(shown.splitlines()) == 1
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)


def test_secrets_and_long_texts() -> None:
    formatter = PlainFormatter("rep", 30, Redaction())
    assert text(formatter, record("x", password="hunter2")) == f"INFO  rep.x password={REDACTED}"
    assert text(formatter, record("see https://u:hunter2@h/")) == f"INFO  rep.{REDACTED}"
    assert text(formatter, record("x", long="y" * 100)) == f"INFO  rep.x long={'y' * 18}-(truncated)"


@contextmanager
def installed(target: Any, **settings: Any) -> Iterator[LogWriter]:
    with kept_levels():
        writer = lagerlog.install(target, source="rep", **settings)
        try:
            yield writer
        finally:
            logging.getLogger().removeHandler(writer)
            writer.close()


@pytest.mark.parametrize(
    ("log_format", "on_terminal", "is_text"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("json", True, False),
        ("text", False, True),
    ],
)
async def test_a_terminal_gets_text_and_a_program_json(
    log_format: str, on_terminal: bool, is_text: bool
) -> None:
    reading, writing = os.openpty() if on_terminal else os.pipe()
    os.set_blocking(reading, False)
    got = b""

    def read() -> bool:
        nonlocal got
        try:
            got += os.read(reading, 4096)
        except BlockingIOError:
            return False
        return b"\n" in got

    with (
        closing(os.fdopen(writing, "w")) as stream,
        installed(stream, log_format=log_format),
        about("ig-1"),
    ):
        logging.getLogger("rep.test").info("started")
        await until(read)
    os.close(reading)
    line = got.decode().strip()
    if is_text:
        assert "rep.started guid=ig-1" in line
        assert ("\x1b[2m" in line) == (on_terminal and "NO_COLOR" not in os.environ)
    else:
        entry = json.loads(line)
        assert (entry["message"], entry["data"]) == ("rep.started", {"guid": "ig-1"})


def test_a_level_that_is_none_installs_nothing() -> None:
    before = [*logging.getLogger().handlers]
    with kept_levels(), open(os.devnull, "w") as stream, pytest.raises(ValueError, match="log_level is 'x'"):
        lagerlog.install(stream, source="rep", level="x")
    assert logging.getLogger().handlers == before
