"""Log targets: the operator's notation for destinations of app logs.

=============================  =======================================================================
``stdout``, ``stderr``         JSON lines
``file:/path``                 JSON lines, appended
``journald``                   the systemd journal; ``journald:/path`` for another socket
``syslog+udp://host:port``     RFC 5424, a datagram per line; port 514 unless given
``syslog+tcp://host:port``     RFC 5424, octet-counted; port 601 unless given
``syslog+tls://host:port``     the same over TLS; port 6514 unless given. ``?ca=/path`` trusts that CA
                               instead of the system's, ``&cert=/path&key=/path`` is our certificate
``syslog+unix:/path``          RFC 5424, a datagram per line, to a socket such as ``/dev/log``
=============================  =======================================================================
"""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from executor.logs.files import AppendedFile, JsonLines, OpenFile
from executor.logs.journald import JOURNAL_SOCKET, JournalEntries
from executor.logs.shipper import Destination, Encode, LineShipper, all_together, each_alone
from executor.logs.sockets import StreamConnection, UDPDatagrams, UnixDatagrams
from executor.logs.syslog import OctetCounted, SyslogMessages

_PORTS = {"syslog+udp": 514, "syslog+tcp": 601, "syslog+tls": 6514}
_PATHS = {"file": "", "journald": str(JOURNAL_SOCKET), "syslog+unix": ""}
_TLS_OPTIONS = frozenset({"ca", "cert", "key"})


class InvalidTarget(ValueError):
    """The text is not a valid log target; the message quotes it and gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parsed target. kind: the part before ``:``; ca, cert, key: paths, for ``syslog+tls`` only."""

    kind: str
    path: str = ""
    host: str = ""
    port: int = 0
    ca: str = ""
    cert: str = ""
    key: str = ""


def parse_target(text: str) -> Target:
    """Parse a log target. Raises InvalidTarget."""
    if text in ("stdout", "stderr"):
        return Target(kind=text)
    kind, _, rest = text.partition(":")
    if kind in _PATHS:
        path = rest or _PATHS[kind]
        if not path.startswith("/"):
            raise InvalidTarget(f"{text!r}: expected an absolute path, as in {kind}:/path")
        return Target(kind=kind, path=path)
    if kind in _PORTS:
        return _network_target(kind, text)
    known = ", ".join(["stdout", "stderr", *_PATHS, *_PORTS])
    raise InvalidTarget(f"{text!r}: expected one of {known}")


def _network_target(kind: str, text: str) -> Target:
    try:
        url = urlsplit(text)
        port = url.port or _PORTS[kind]
        options = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
    except ValueError as error:
        raise InvalidTarget(f"{text!r}: {error}") from None
    if not url.hostname or url.path not in ("", "/"):
        raise InvalidTarget(f"{text!r}: expected {kind}://host:port")
    if wrong := options.keys() - (_TLS_OPTIONS if kind == "syslog+tls" else frozenset()):
        raise InvalidTarget(f"{text!r}: unknown option {', '.join(sorted(wrong))}")
    if ("cert" in options) != ("key" in options):
        raise InvalidTarget(f"{text!r}: cert and key need each other")
    return Target(kind=kind, host=url.hostname, port=port, **options)


def open_target(text: str, *, hostname: str = "") -> LineShipper:
    """The sink for a target; it connects with the first line.

    hostname: host name in syslog messages. Raises InvalidTarget, and OSError for unreadable TLS files.
    """
    target = parse_target(text)
    destination = _destination(target)
    recover = destination.recover if isinstance(destination, AppendedFile) else None
    return LineShipper(text, _encode(target.kind, hostname), destination, recover=recover)


def _encode(kind: str, hostname: str) -> Encode:
    messages = SyslogMessages(hostname)
    match kind:
        case "journald":
            return each_alone(JournalEntries())
        case "syslog+unix" | "syslog+udp":
            return each_alone(messages)
        case "syslog+tcp" | "syslog+tls":
            return all_together(OctetCounted(messages))
        case _:
            return JsonLines()


def _destination(target: Target) -> Destination[bytes]:
    match target.kind:
        case "stdout":
            return OpenFile(sys.stdout.fileno())
        case "stderr":
            return OpenFile(sys.stderr.fileno())
        case "file":
            return AppendedFile(Path(target.path))
        case "journald" | "syslog+unix":
            return UnixDatagrams(Path(target.path))
        case "syslog+udp":
            return UDPDatagrams(target.host, target.port)
        case "syslog+tcp":
            return StreamConnection(target.host, target.port)
        case "syslog+tls":
            return StreamConnection(target.host, target.port, _tls_context(target))
        case kind:
            raise InvalidTarget(f"no destination of kind {kind!r}")


def _tls_context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.ca or None)
    if target.cert:
        context.load_cert_chain(target.cert, target.key)
    return context
