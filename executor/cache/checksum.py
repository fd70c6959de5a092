"""Are these the bytes that were asked for?"""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from executor.cache.api import Checksum, ChecksumError

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hex digits by algorithm. The reference knows no sha512, and its text for what it does not know is kept."""


class Verifier(Protocol):
    """Eats bytes, then judges."""

    def update(self, data: bytes, /) -> None: ...

    def verify(self) -> None:
        """Raises ChecksumError."""
        ...


class _Anything:
    """No checksum was given."""

    def update(self, data: bytes, /) -> None:
        """Nothing to remember."""

    def verify(self) -> None:
        """Nothing to compare."""


class _Digest:
    def __init__(self, algorithm: str, expected: str, given: str) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = expected
        self._given = given
        self.update = self._hash.update

    def verify(self) -> None:
        actual = self._hash.hexdigest()
        if actual != self._expected:
            raise ChecksumError(
                f"Checksum failed: 'checksum mismatch', expected '{self._given}', got '\"{actual}\"'"
            )


def verifier(checksum: Checksum) -> Verifier:
    """What checks a download. Raises ChecksumError for a checksum that could match nothing."""
    if not checksum.active:
        return _Anything()
    digits = DIGITS.get(checksum.algorithm)
    if digits is None:
        raise ChecksumError(
            "Checksum failed: 'algorithm invalid', expected '[md5, sha1, sha256]',"
            f" got '{checksum.algorithm}'"
        )
    expected = checksum.value.strip('"').lower()
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", expected):
        raise ChecksumError(
            "Checksum failed: 'checksum missing or invalid', expected 'a valid checksum',"
            f" got '{checksum.value}'"
        )
    return _Digest(checksum.algorithm, expected, checksum.value)
