"""Headers of forwarded requests and responses: those of the platform's router. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from cell.routing.table import Endpoint

HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "expect"),
    }
)
"""Headers about one connection. The router has answered ``Expect`` itself."""

REQUEST_ID: Final = "X-Vcap-Request-Id"
APP_INSTANCE: Final = "X-Cf-App-Instance"
"""Request header with ``APP_GUID:INDEX``: the one instance that may answer."""
ERROR: Final = "X-Cf-RouterError"

SESSION_COOKIE: Final = "JSESSIONID"
"""An app that sets this cookie wants a session's requests at one instance."""
STICKY_COOKIE: Final = "__VCAP_ID__"
_COPIED_ATTRIBUTES: Final = ("max-age", "expires", "secure", "samesite")

_APP_INSTANCE: Final = re.compile(r"([^:\s]+):(\d{1,9})")


def end_to_end(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> CIMultiDict[str]:
    """The headers without those of one connection."""
    named = (name for value in headers.getall("Connection", ()) for name in value.split(","))
    dropped = HOP_BY_HOP | {name.strip().lower() for name in named}
    kept = ((name, value) for name, value in headers.items() if name.lower() not in dropped)
    return CIMultiDict((name, _as_text(value)) for name, value in kept)


def _as_text(value: str) -> str:
    """A value that can be sent: bytes that are not UTF-8 count as Latin-1."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # aiohttp's escapes of undecodable bytes
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value


def forwarded_request(
    headers: CIMultiDictProxy[str],
    endpoint: Endpoint,
    *,
    client: str,
    request_id: str,
    now_ms: int,
) -> CIMultiDict[str]:
    """The headers for an instance. client: address of the client. now_ms: time of arrival, since the epoch.

    What a proxy in front of the router says about the client stays, and ours is added to it.
    """
    sent = end_to_end(headers)
    sent["X-Forwarded-For"] = ", ".join([*sent.popall("X-Forwarded-For", ()), client])
    sent.setdefault("X-Forwarded-Proto", "http")
    sent.setdefault("X-Request-Start", str(now_ms))
    sent[REQUEST_ID] = request_id
    sent["X-Cf-Applicationid"] = endpoint.app_guid
    sent["X-Cf-Instanceid"] = endpoint.instance_guid
    sent["X-Cf-Instanceindex"] = str(endpoint.index)
    return sent


def forwarded_response(
    headers: CIMultiDictProxy[str] | CIMultiDict[str], endpoint: Endpoint, *, request_id: str
) -> CIMultiDict[str]:
    """The headers for the client, with the cookie of a sticky session if the app began one."""
    sent = end_to_end(headers)
    sent[REQUEST_ID] = request_id
    if sticky := _sticky_cookie(headers.getall("Set-Cookie", ()), endpoint):
        sent.add("Set-Cookie", sticky)
    return sent


def preferred_instance(headers: CIMultiDictProxy[str]) -> str:
    """Instance GUID of the client's session; empty without one."""
    cookies = {
        name.strip(): value.strip()
        for header in headers.getall("Cookie", ())
        for name, _, value in (pair.partition("=") for pair in header.split(";"))
    }
    return cookies.get(STICKY_COOKIE, "") if SESSION_COOKIE in cookies else ""


def wanted_instance(headers: CIMultiDictProxy[str]) -> tuple[str, int] | None:
    """App GUID and index of the only instance that may answer; None for any. Raises ValueError."""
    text = headers.get(APP_INSTANCE)
    if text is None:
        return None
    match = _APP_INSTANCE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{APP_INSTANCE} is not APP_GUID:INDEX")
    return match[1], int(match[2])


def _sticky_cookie(set_by_app: Iterable[str], endpoint: Endpoint) -> str:
    """The cookie that names the instance, with the lifetime of the app's session cookie."""
    for text in set_by_app:
        if not text.startswith(f"{SESSION_COOKIE}="):
            continue
        try:
            session = SimpleCookie(text)[SESSION_COOKIE]
        except (CookieError, KeyError):
            return ""
        sticky: Morsel[str] = Morsel()
        sticky.set(STICKY_COOKIE, endpoint.instance_guid, endpoint.instance_guid)
        sticky.update({name: session[name] for name in _COPIED_ATTRIBUTES if session[name]})
        sticky["path"] = "/"
        sticky["httponly"] = True
        return sticky.OutputString()
    return ""
