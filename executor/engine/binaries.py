"""Checks of the two static host programs in containers: they must run in an image without a libc."""

from __future__ import annotations

import struct
from pathlib import Path

from executor.errors import EngineError

_PT_INTERP = 3


def require_static(path: str, debian_package: str) -> None:
    """Raise EngineError, naming the package to install, unless ``path`` is a static ELF program."""
    advice = f"install the Debian package {debian_package}"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}; {advice}") from error
    if not is_static(data):
        raise EngineError(f"{path} is not a statically linked program; {advice}")


def is_static(program: bytes) -> bool:
    """Whether an ELF file has no interpreter (dynamic loader)."""
    if program[:4] != b"\x7fELF" or len(program) < 64:
        return False
    wide, order = program[4] == 2, "<" if program[5] == 1 else ">"
    offset = struct.unpack_from(order + ("Q" if wide else "I"), program, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", program, 54 if wide else 42)
    kinds = (struct.unpack_from(order + "I", program, offset + size * index)[0] for index in range(count))
    return _PT_INTERP not in kinds
