"""Redaction of the component's log: values of secret keys, and texts that look like secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REDACTED = "*REDACTED*"

_KEYS = re.compile(r"pwd|pass|secret|token|credential", re.IGNORECASE)
_TEXTS = (
    r"-----BEGIN[A-Z ]*PRIVATE KEY-----",
    r"\bA[KS]IA[0-9A-Z]{16}\b",
    r"\$(?:1|2[aby]|5|6|y)\$[./0-9A-Za-z$=,]{20,}",
    r"://[^/\s:@]*:[^/\s@]+@",
)
"""Private keys, AWS access keys, password hashes, passwords in URLs."""


class Redaction:
    """Redacts the data of log entries.

    patterns: additional regular expressions of secrets. Raises ``re.error`` for an invalid one.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._texts = re.compile("|".join(f"(?:{pattern})" for pattern in (*_TEXTS, *patterns)))

    def __call__(self, value: object) -> object:
        """The value with its secrets replaced."""
        if isinstance(value, str):
            return REDACTED if self._texts.search(value) else value
        if isinstance(value, Mapping):
            return {key: REDACTED if _KEYS.search(str(key)) else self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value
