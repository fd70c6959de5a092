"""URLs and requests of a check and of its redirects. Works on bytes only, without sockets."""

from __future__ import annotations

from common.gourl import URL, URLError, parse, resolve
from healthcheck.dial import MAX_PORT
from healthcheck.reading import USER_AGENT, ExchangeError

_DIGITS = frozenset("0123456789")
_PORTS = {"http": 80, "https": 443}


def check_url(host: str, port: str, uri: str) -> URL | None:
    """The URL built from host, port and ``uri``; None if the result is not a valid URL."""
    glued = port
    for character in uri:
        if character in "/?#":
            break
        glued += character
    if any(character not in _DIGITS for character in glued):
        return None
    try:
        return parse(f"http://{host}:{port}{uri}")
    except URLError:
        return None


def follow(url: URL, location: str) -> URL:
    """The URL of a redirect. Raises ExchangeError if the redirect cannot be followed."""
    try:
        target = resolve(url, location)
    except URLError as error:
        raise ExchangeError(f"failed to parse Location header {location!r}: {error}") from error
    if target.scheme not in ("http", "https"):
        raise ExchangeError(f"unsupported protocol scheme {target.scheme!r}")
    if not target.host:
        raise ExchangeError("no host in request URL")
    return target


def target_port(url: URL) -> int:
    """The port to dial. Raises ExchangeError."""
    _, port = url.hostname_and_port()
    number = int(port) if port else _PORTS[url.scheme]
    if number > MAX_PORT:
        raise ExchangeError("invalid port")
    return number


def request(url: URL, previous: URL | None) -> bytes:
    """The GET request for ``url``. ``previous`` is the URL that redirected to it."""
    lines = [
        f"GET {url.request_target()} HTTP/1.1",
        f"Host: {url.authority()}",
        f"User-Agent: {USER_AGENT}",
        "X-Forwarded-Proto: https",
        "Accept-Encoding: gzip",
    ]
    if previous is not None and not (previous.scheme == "https" and url.scheme == "http"):
        referer = previous.without_user()
        referer.fragment = ""
        lines.append(f"Referer: {str(referer).encode('utf-8', 'surrogateescape').decode('latin-1')}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
