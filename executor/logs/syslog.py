"""Syslog messages of RFC 5424, with the labels of the platform's log drains.

APP-NAME is the source id. PROCID is the source type and instance in brackets. Tags are structured data
under the enterprise number 47450. ``output@47450`` identifies a line of a durable process, by the name of its
stream and an offset: a restart may repeat it. Facility 1 (user); severity 6 (info) for output, 3 (error) for
error output.
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime

from executor.logs.api import LogLine, Stream
from executor.logs.labels import PerLabel

_FACILITY = 1
_SEVERITIES = {Stream.OUT: 6, Stream.ERR: 3}
_TAGS_ID, _OUTPUT_ID = "tags@47450", "output@47450"
_NO_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_NO_NAME = re.compile(r'[^\x21-\x7e]|[="\]]')
_ESCAPED = re.compile(r'(["\\\]])')
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Line ends of all kinds, and terminal control characters."""


class SyslogMessages:
    """Encodes a line as one message, without a frame. hostname: of the cell; default the host's."""

    def __init__(self, hostname: str = "") -> None:
        self._hostname = hostname or socket.gethostname()
        self._labels = PerLabel(self._affixes)

    def __call__(self, line: LogLine) -> bytes:
        before, after, last = self._labels(line)
        offset = b"" if line.delivery is None else b"%d" % line.offset
        return b"".join((before, timestamp(line.time_ns), after, offset, last, line.payload))

    def _affixes(self, line: LogLine) -> tuple[bytes, bytes, bytes]:
        """The text before the time, after it, and after the offset."""
        priority = _FACILITY * 8 + _SEVERITIES[line.stream]
        header = " ".join(
            (
                "",
                _field(self._hostname, 255),
                _field(line.source_id, 48),
                _field(f"[{line.source_type}/{line.instance_id}]", 128),
                "-",
                "",
            )
        )
        data = structured_data(line)
        if line.delivery is None:
            header, last = f"{header}{data} ", ""
        else:
            tags = "" if data == "-" else data  # first: readers of today look for them there
            header += f'{tags}[{_OUTPUT_ID} name="{_escaped(line.delivery.name)}" offset="'
            last = '"] '
        return f"<{priority}>1 ".encode(), header.encode(), last.encode()


class OctetCounted:
    """Encodes a line for a stream: its length, a space, and the message (RFC 6587, 3.4.1)."""

    def __init__(self, messages: SyslogMessages) -> None:
        self._messages = messages

    def __call__(self, line: LogLine) -> bytes:
        message = self._messages(line)
        return b"%d %s" % (len(message), message)


def structured_data(line: LogLine) -> str:
    """The tags, or ``-`` without any."""
    if not line.tags:
        return "-"
    pairs = (f'{_name(name)}="{_escaped(value)}"' for name, value in line.tags.items())
    return f"[{_TAGS_ID} {' '.join(pairs)}]"


def _name(tag: str) -> str:
    return _NO_NAME.sub("_", tag)[:32] or "_"


def timestamp(time_ns: int) -> bytes:
    """RFC 3339 timestamp with microseconds, in UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z".encode()


def _field(text: str, limit: int) -> str:
    return _NO_PRINTABLE.sub("_", text)[:limit] or "-"


def _escaped(value: str) -> str:
    """Escape a value of structured data, on one line: many receivers split messages at line ends."""
    value = _CONTROLS.sub("_", value)
    return _ESCAPED.sub(r"\\\1", value)
