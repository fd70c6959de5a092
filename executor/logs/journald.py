"""Log lines in systemd's native journal protocol: one datagram per entry.

``journalctl CF_SOURCE_ID=<guid>`` shows an app. A tag ``process_type`` is the field
``CF_TAG_PROCESS_TYPE``.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from executor.logs.api import LogLine, Stream
from executor.logs.labels import PerLabel

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")

MAX_FIELD_NAME = 64

_PRIORITIES = {Stream.OUT: "6", Stream.ERR: "3"}


class JournalEntries:
    """Encodes a line as one entry. The journal's timestamp is the arrival; ``CF_TIME_NS`` is our time.

    ``CF_OUTPUT`` and ``CF_OFFSET`` identify a line of a durable process, which a restart may repeat.
    """

    def __init__(self) -> None:
        self._labels = PerLabel(_labels)

    def __call__(self, line: LogLine) -> bytes:
        offset = b"" if line.delivery is None else b"CF_OFFSET=%d\n" % line.offset
        time = b"CF_TIME_NS=%d\n" % line.time_ns
        return b"".join((self._labels(line), time, offset, field("MESSAGE", line.payload)))


def _labels(line: LogLine) -> bytes:
    fields = {
        "PRIORITY": _PRIORITIES[line.stream],
        "SYSLOG_IDENTIFIER": f"{line.source_type}/{line.instance_id}",
        "CF_SOURCE_ID": line.source_id,
        "CF_INSTANCE_ID": line.instance_id,
        "CF_SOURCE_TYPE": line.source_type,
        "CF_STREAM": line.stream.value,
    }
    if line.delivery is not None:
        fields["CF_OUTPUT"] = line.delivery.name
    fields |= {field_name(tag): value for tag, value in line.tags.items()}
    return b"".join(field(name, value.encode()) for name, value in fields.items())


def field_name(tag: str) -> str:
    """A valid journal field name: capitals, digits and underscores."""
    return ("CF_TAG_" + re.sub(r"[^A-Z0-9]", "_", tag.upper()))[:MAX_FIELD_NAME]


def field(name: str, value: bytes) -> bytes:
    """``NAME=value`` on a line, or with an explicit length if the value contains a line feed."""
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)
    return b"%s=%s\n" % (name.encode(), value)
