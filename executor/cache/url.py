"""URL validation."""

from __future__ import annotations

import re

from executor.errors import ExecutorError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_PORT = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#]*@)?(?:\[[^\]]*\]|[^/?#:\[]*)(:[^/?#]*)")


class InvalidURL(ExecutorError):
    """The text is not a valid URL; the message has the reason."""

    text = "invalid URL"


def check_url(url: str) -> None:
    """Raise InvalidURL for URLs that the Go cell refuses to parse: control characters, bad escapes, a missing
    scheme before ``:``, a port that is not a number. An address that begins with ``//`` is refused too: the
    HTTP client fails on it with an AssertionError.
    """
    if _CONTROL.search(url):
        problem = "net/url: invalid control character in URL"
    elif url.startswith((":", "//")):
        problem = "missing protocol scheme"
    elif escape := _BAD_ESCAPE.search(url.split("?", 1)[0]):
        problem = f'invalid URL escape "{escape.group()}"'
    elif (port := _PORT.match(url)) and not re.fullmatch(r":[0-9]*", port.group(1)):
        problem = f'invalid port "{port.group(1)}" after host'
    else:
        return
    raise InvalidURL(f'parse "{url}": {problem}')
