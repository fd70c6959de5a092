"""Access rule of a listener without TLS: it accepts programs and pages that the listener itself served.

A web page can make a browser on this machine send requests to loopback addresses. Two headers, which a page
cannot set, distinguish such requests from those of programs:

* ``Origin`` names the site of the page. Programs do not send it.
* ``Host`` is the name in the URL. If a page's own name resolves to a loopback address (DNS rebinding), the
  request is same-origin, but the browser still sends that name. An address cannot be rebound, so addresses
  and ``localhost`` are always accepted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from multidict import CIMultiDictProxy

HTTP_PORT: Final = 80
LOCALHOST: Final = "localhost"
OTHER_SITES: Final = frozenset({"cross-site", "same-site"})
"""``Sec-Fetch-Site`` values of a page of another origin. Another port is another origin."""

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]*)(?::([0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class AccessRule:
    """The rule of one listener.

    hosts: lower-case host names by which clients may call it, in addition to addresses and ``localhost``.
    Pages of these hosts are accepted too, because a proxy in front of the listener has its own name.
    """

    hosts: Collection[str] = ()

    def refusal(self, headers: CIMultiDictProxy[str]) -> str:
        """Why a request with these headers is refused, as text for its sender; empty if it is accepted."""
        called = headers.getall("Host", [])
        if len(called) > 1:
            return "the request has more than one Host header"
        host = authority(called[0]) if called else None
        if called and called[0] and (host is None or not self._named(host[0])):
            return "the Host header names a host that this server does not answer for"
        for origin in headers.getall("Origin", []):
            if not self._own(origin, host):
                return "pages of other sites may not use this server (Origin header)"
        if headers.get("Sec-Fetch-Site") in OTHER_SITES and headers.get("Sec-Fetch-Mode") != "navigate":
            return "pages of other sites may not use this server (Sec-Fetch-Site header)"
        return ""

    def _named(self, host: str) -> bool:
        return host == LOCALHOST or host in self.hosts or _is_address(host)

    def _own(self, origin: str, host: tuple[str, int] | None) -> bool:
        scheme, separator, rest = origin.partition("://")
        site = authority(rest) if separator else None
        if site is None:
            return False
        return site[0] in self.hosts or (scheme == "http" and site == host)


def authority(text: str) -> tuple[str, int] | None:
    """Host (lower case, without brackets) and port of ``host[:port]``; None for invalid text."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or not match[1]:
        return None
    host = match[1].removeprefix("[").removesuffix("]").lower()
    return host.removesuffix("."), int(match[2] or HTTP_PORT)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
