"""Internal routes and metric tags of instances, from their desired LRP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bbs.models.actual_lrp import ActualLRP, ActualLRPInternalRoute
from bbs.models.codec import parse
from bbs.models.desired_lrp import INTERNAL_ROUTER, DesiredLRP
from bbs.models.invalid import InvalidDocument


def internal_routes(lrp: DesiredLRP) -> tuple[ActualLRPInternalRoute, ...]:
    """Host names on the internal network; empty if the router's data is malformed."""
    text = (lrp.routes or {}).get(INTERNAL_ROUTER)
    if text is None:
        return ()
    try:
        entries = parse(text)
    except InvalidDocument:
        return ()
    if not isinstance(entries, list):
        return ()
    return tuple(
        ActualLRPInternalRoute(hostname=entry["hostname"])
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("hostname"), str)
    )


def metric_tags(lrp: DesiredLRP, row: ActualLRP) -> dict[str, str]:
    """The metric tags with the dynamic values of one instance."""
    index, guid = row.actual_lrp_key.index, row.actual_lrp_instance_key.instance_guid
    return {name: value.of_instance(index, guid) for name, value in lrp.metric_tags.items()}


def stored(routes: Mapping[str, bytes]) -> dict[str, bytes]:
    """Routes in the form a BBS returns: JSON without whitespace, strings escaped for HTML.

    Values that are not JSON stay unchanged; only their router interprets them.
    """
    return {router: _compact(text) if _is_json(text) else text for router, text in routes.items()}


_SPACE_OR_STRING = re.compile(rb'[ \t\r\n]+|"(?:[^"\\]|\\.)*"')
_ESCAPES = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}


def _compact(text: bytes) -> bytes:
    return _SPACE_OR_STRING.sub(lambda found: _safe(found[0]) if found[0][:1] == b'"' else b"", text)


def _safe(text: bytes) -> bytes:
    for raw, escaped in _ESCAPES.items():
        text = text.replace(raw, escaped)
    return text


def _is_json(text: bytes) -> bool:
    try:
        parse(text)
    except InvalidDocument:
        return False
    return True
