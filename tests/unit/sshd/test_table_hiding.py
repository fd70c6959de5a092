"""Location of a process's arguments and environment in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sshd.hiding import spans

pytestmark = pytest.mark.unit

BEFORE = b"7 (a) b) S" + b" 1" * 44


def test_of_this_process() -> None:
    (begin, end), (following, last) = spans(Path("/proc/self/stat").read_bytes())
    assert begin < end <= following < last
    with open("/proc/self/mem", "rb") as memory:
        assert os.pread(memory.fileno(), end - begin, begin) == Path("/proc/self/cmdline").read_bytes()


def test_names_with_brackets_and_blanks() -> None:
    assert spans(BEFORE + b" 10 20 20 40 0\n") == ((10, 20), (20, 40))


@pytest.mark.parametrize("fields", [b"\n", b" 10 20 20\n", b" 0 0 0 0 0\n"])
def test_a_kernel_that_does_not_tell(fields: bytes) -> None:
    with pytest.raises(OSError, match="does not tell where arguments and environment are"):
        spans(BEFORE + fields)
