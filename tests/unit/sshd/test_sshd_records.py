"""Log records: written or counted as lost, without waiting."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sshd.records import INFO, MAX_WAITING, Output, Records

pytestmark = pytest.mark.unit

PIPE = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a small pipe, which is full soon."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def records(writing: int) -> Records:
    return Records("ssh-proxy", INFO, False, Output(writing))


def read_all(log: Records, reading: int) -> list[dict[str, Any]]:
    """All records that come out, the reader being quick now."""
    text = b""
    os.set_blocking(reading, False)
    while True:
        log.flush()
        try:
            text += os.read(reading, 1 << 20)
        except BlockingIOError:
            return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("user", "written"),
    [("diego:\udcff/0", "diego:\\udcff/0"), ("\ud800", "\\ud800"), ("Ü", "Ü"), ('"\n', '"\n')],
    ids=["bytes that are no UTF-8", "half a character of JSON", "UTF-8", "quotes and line ends"],
)
def test_any_user_name_is_in_the_record(user: str, written: str, pipe: tuple[int, int]) -> None:
    """A name that cannot be encoded is escaped, so that no attempt goes without a record."""
    reading, writing = pipe
    log = records(writing)
    log.write(INFO, "authentication-failed", user=user)
    (record,) = read_all(log, reading)
    assert record["data"] == {"user": written}


def test_a_reader_that_is_slow_is_not_waited_for(pipe: tuple[int, int]) -> None:
    """The pipe takes a few records; the others wait and come in order."""
    reading, writing = pipe
    log = records(writing)
    for number in range(1000):
        log.write(INFO, "attempt", number=number)
    assert [record["data"]["number"] for record in read_all(log, reading)] == list(range(1000))


def test_records_that_find_no_place_are_counted(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    log = records(writing)
    written = 3 * MAX_WAITING // 10_000
    for number in range(written):
        log.write(INFO, "attempt", number=number, text="x" * 10_000)
    first = read_all(log, reading)
    assert len(first) < written // 2
    log.write(INFO, "attempt", number=written)
    lost, last = read_all(log, reading)
    assert (lost["message"], lost["data"]) == ("ssh-proxy.records-lost", {"number": written - len(first)})
    assert last["data"] == {"number": written}


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    log = records(writing)
    null = os.open("/dev/full", os.O_WRONLY)
    os.dup2(null, writing)
    os.close(null)
    log.write(INFO, "attempt")
    log.close()
