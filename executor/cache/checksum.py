"""Are these the bytes that were asked for?"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from executor.cache.api import Checksum, ChecksumError

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hex digits by algorithm. The reference knows no sha512, and its text for what it does not know is kept."""


KEPT = "sha256"
"""The algorithm of the digest that is known of every download."""


class Digests:
    """The digests of bytes that come one after another: :data:`KEPT`, and the one that was asked for."""

    def __init__(self, checksum: Checksum) -> None:
        """Raises ChecksumError for a checksum that could match nothing."""
        self._checksum = checksum
        self._expected = expected_digest(checksum)
        algorithms = {KEPT, checksum.algorithm} if checksum.active else {KEPT}
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""
        for one in self._hashes.values():
            one.update(data)

    def verified(self) -> dict[str, str]:
        """All digests, in hex, by algorithm. Raises ChecksumError."""
        found = {name: one.hexdigest() for name, one in self._hashes.items()}
        if self._checksum.active and (actual := found[self._checksum.algorithm]) != self._expected:
            raise ChecksumError(
                f"Checksum failed: 'checksum mismatch', expected '{self._checksum.value}', got '\"{actual}\"'"
            )
        return found


def fits(checksum: Checksum, digests: Mapping[str, str]) -> bool:
    """Whether bytes with these digests are known to be the ones that are wanted."""
    return not checksum.active or digests.get(checksum.algorithm, "") == checksum.value.strip('"').lower()


def expected_digest(checksum: Checksum) -> str:
    """Hex digits, empty for a checksum that is not active. Raises ChecksumError for one that could match
    nothing."""
    if not checksum.active:
        return ""
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
    return expected
