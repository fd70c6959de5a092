"""Comparison of a host key with an expected fingerprint, whose length determines its type (pure)."""

from __future__ import annotations

import base64
import hashlib
import hmac

SHA256_PREFIX = "SHA256:"

_MD5, _SHA1, _SHA256, _SHA256_UNPADDED, _SHA256_HEX = 47, 59, 44, 43, 95
"""Lengths: hex with colons (MD5, SHA-1), base64, base64 without padding, and hex of some 2024 releases."""


def matches(expected: str, key_blob: bytes) -> bool:
    """Whether the key matches: with an empty expectation always, with one of unknown length never.

    Hex digits must be lower case.
    """
    if not expected:
        return True
    actual = _fingerprint(key_blob, len(expected.removeprefix(SHA256_PREFIX)))
    return actual is not None and hmac.compare_digest(
        actual.encode(), expected.removeprefix(SHA256_PREFIX).encode("utf-8", "surrogateescape")
    )


def _fingerprint(blob: bytes, length: int) -> str | None:
    if length == _MD5:
        return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")
    if length == _SHA1:
        return hashlib.sha1(blob, usedforsecurity=False).digest().hex(":")
    if length == _SHA256_HEX:
        return hashlib.sha256(blob).digest().hex(":")
    if length in (_SHA256, _SHA256_UNPADDED):
        return base64.b64encode(hashlib.sha256(blob).digest()).decode()[:length]
    return None
