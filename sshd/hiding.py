"""Removal of keys from the output of ``ps`` and from ``/proc/PID/environ``.

The kernel shows the memory that held arguments and environment at the start, so this memory is overwritten:
arguments that hold a key are cut from the list, variables become empty. The program is not executed again.
"""

from __future__ import annotations

import errno
import os

VARIABLES = (b"SSHD_HOSTKEY", b"SSHD_AUTHKEY")
FLAGS = (b"hostKey", b"authorizedKey")

_ARGUMENTS_START, _ARGUMENTS_END, _ENVIRONMENT_START, _ENVIRONMENT_END = 47, 48, 49, 50
"""Fields of /proc/PID/stat, counted from 0.

Field 1, the process name, may contain blanks and is cut off before the split.
"""


def hide_keys() -> None:
    """Overwrite the keys and drop the variables. Raises ``OSError`` if /proc does not permit it."""
    for name in VARIABLES:
        os.environ.pop(name.decode(), None)
    with open("/proc/self/stat", "rb") as file:
        arguments, environment = spans(file.read())
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        for (start, end), rewrite in ((arguments, without_keys), (environment, without_variables)):
            shown = os.pread(memory, end - start, start)
            os.pwrite(memory, rewrite(shown), start)
    finally:
        os.close(memory)


def spans(status: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and end addresses of arguments and environment, from /proc/PID/stat.

    Raises ``OSError`` if they are missing, as under an emulator.
    """
    fields = status.rpartition(b")")[2].split()[_ARGUMENTS_START - 2 : _ENVIRONMENT_END - 1]
    if len(fields) < 4 or b"0" in fields:
        raise OSError(errno.ENODATA, "/proc/self/stat does not tell where arguments and environment are")
    numbers = list(map(int, fields))
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def without_keys(command_line: bytes) -> bytes:
    """The command line without the two flags and their values, in the same number of bytes."""
    kept: list[bytes] = []
    arguments = iter(command_line.split(b"\0"))
    for argument in arguments:
        name, equals, _ = argument.lstrip(b"-").partition(b"=")
        if argument.startswith(b"-") and name in FLAGS:
            if not equals:
                next(arguments, None)
        else:
            kept.append(argument)
    return b"\0".join(kept).ljust(len(command_line), b"\0")


def without_variables(environment: bytes) -> bytes:
    """The environment with zeros in place of the variables, in the same number of bytes.

    The bundle's start program puts a mark in front of names.
    """
    return b"\0".join(
        bytes(len(entry)) if entry.lstrip(b":").partition(b"=")[0] in VARIABLES else entry
        for entry in environment.split(b"\0")
    )
