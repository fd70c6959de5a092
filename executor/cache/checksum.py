"""Checksum verification of downloads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from executor.cache.api import Checksum, ChecksumError

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hex digits by algorithm. The Go cell does not support sha512; for unknown algorithms its error text is
kept.
"""


KEPT = "sha256"
"""Algorithm of the digest that is stored for every download."""


class Digests:
    """Incremental checksum verifier: computes :data:`KEPT` and the requested algorithm."""

    def __init__(self, checksum: Checksum) -> None:
        """Raises ChecksumError for a malformed checksum."""
        self._checksum = checksum
        self._expected = expected_digest(checksum)
        algorithms = {KEPT, checksum.algorithm} if checksum.active else {KEPT}
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, data: bytes, /) -> None:
        """Add the next bytes."""
        for one in self._hashes.values():
            one.update(data)

    def verified(self) -> dict[str, str]:
        """All digests, in hex, by algorithm. Raises ChecksumError on a mismatch."""
        found = {name: one.hexdigest() for name, one in self._hashes.items()}
        if self._checksum.active and (actual := found[self._checksum.algorithm]) != self._expected:
            raise ChecksumError(
                f"Checksum failed: 'checksum mismatch', expected '{self._checksum.value}', got '\"{actual}\"'"
            )
        return found


def fits(checksum: Checksum, digests: Mapping[str, str]) -> bool:
    """Whether these digests are known to match the checksum."""
    return not checksum.active or digests.get(checksum.algorithm, "") == checksum.value.strip('"').lower()


def expected_digest(checksum: Checksum) -> str:
    """The expected hex digits, empty for an inactive checksum. Raises ChecksumError for a malformed one."""
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
