"""Removal of secrets from what a support bundle contains. Pure.

Texts of an operator that are free in form (a command, variables, addresses of log targets) are left out as
a whole or in part, because no pattern finds every secret in them. Lines of the log are those of the cell
itself; lines of apps, which may stand between them, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from rep.redaction import REDACTED, Redaction

LEFT_OUT: Final = frozenset(
    (
        "post_setup_hook",
        "garden_healthcheck_process_args",
        "garden_healthcheck_process_env",
        "redact_patterns",
    )
)
"""Keys of rep.json with texts of a free form."""
ADDRESSES: Final = ("log_sinks", "docker_host", "bbs_address", "rep_url")
"""Keys of rep.json with URLs, of which scheme, host and port are shown."""
_LAGER: Final = ("timestamp", "source", "message", "data")
_BEARER: Final = r"(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{8,})"
_ASSIGNED: Final = r"(?i:(?:pwd|pass\w*|secret|token|credential\w*|api_?key)\"?\s*[=:]\s*\S+)"
_BASE64_JWT: Final = r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
PATTERNS: Final = (_BEARER, _ASSIGNED, _BASE64_JWT)
"""Further secrets than those of the cell's own log: those in texts."""


class Scrubber:
    """patterns: the ``redact_patterns`` of the cell. Raises ``re.error`` for an invalid one."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._redact = Redaction((*PATTERNS, *patterns))

    def value(self, value: object) -> object:
        """A value with its secrets replaced."""
        return self._redact(value)

    def config(self, values: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """The effective configuration; each key has ``value`` and ``source``."""
        return {
            key: {**entry, "value": self._setting(key.rpartition(".")[2], entry["value"])}
            for key, entry in values.items()
        }

    def _setting(self, key: str, value: object) -> object:
        if key in LEFT_OUT:
            return REDACTED if value else value
        if key in ADDRESSES:
            addresses = [value] if isinstance(value, str) else value
            assert isinstance(addresses, Iterable)
            shown = [_without_credentials(str(address)) for address in addresses]
            return shown[0] if isinstance(value, str) else shown
        # The names of some keys look like those of secrets; they have paths or numbers.
        return self._redact(value)

    def log(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of the cell's own log, and at the end how many others were left out."""
        others = 0
        for line in lines:
            entry = _lager_entry(line)
            if entry is None:
                others += 1
            else:
                yield json.dumps(self._redact(entry), ensure_ascii=False)
        if others:
            yield json.dumps({"lines-left-out": others})

    def text(self, text: str) -> str:
        """A text for people, line by line."""
        return "".join(f"{self._redact(line)}\n" for line in text.splitlines())


def _without_credentials(address: str) -> str:
    """Scheme, host and port of a URL, or a path; a target without a slash is a name."""
    if "://" not in address:
        scheme, colon, rest = address.partition(":")
        return f"{scheme}{colon}{rest}" if rest.startswith("/") or not colon else f"{scheme}:{REDACTED}"
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    path = parts.path if parts.scheme == "unix" else ""
    return f"{parts.scheme}://{place}{path}"


def _lager_entry(line: str) -> dict[str, Any] | None:
    """The entry of a line of the cell's own log; None for another line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and all(key in entry for key in _LAGER) else None
