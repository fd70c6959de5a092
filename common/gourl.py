"""URL parser and formatter with the rules of the platform's components.

The standard library's splitter accepts nearly every text and keeps every spelling. ``DATABASE_URL`` and the
errors for refused URLs follow these stricter rules: RFC 3986, with the exceptions that clients rely on. Text
is handled as bytes, one character each, so that escapes and UTF-8 are treated alike.

Imports as little as possible: see ``common.gotext``.
"""

from __future__ import annotations

from common.gotext import quote

_ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_UNRESERVED = _ALPHANUMERIC | frozenset("-_.~")
_SUBDELIMITERS = frozenset("!$&'()*+,;=")

HOST = _UNRESERVED | _SUBDELIMITERS | frozenset(':[]<>"')
"""Characters allowed unescaped in a host; the constants below do the same for other parts."""
PATH = _UNRESERVED | frozenset("$&+,/:;=@")
USER = _UNRESERVED | frozenset("$&+,;=")
FRAGMENT = _UNRESERVED | frozenset("$&+,/:;=?@!()*")
_CONTROL = frozenset(map(chr, (*range(0x20), 0x7F)))
_VALID_PATH = PATH | _SUBDELIMITERS | frozenset(":@[]%")
_VALID_FRAGMENT = FRAGMENT | _SUBDELIMITERS | frozenset(":@[]%")
_VALID_USER = _ALPHANUMERIC | frozenset("-._:~!$&'()*+,;=%@")


class URLError(Exception):
    """An invalid URL; ``str()`` is ``parse "<text>": <reason>``."""


class _Reason(Exception):
    """The reason why a part is malformed."""


class URL:
    """The parts of a URL, unescaped. Non-ASCII text is kept as UTF-8 bytes, one character each."""

    def __init__(self) -> None:
        self.scheme = ""
        self.opaque = ""
        self.user: str | None = None
        self.password: str | None = None
        self.host = ""
        self.path = ""
        self.raw_path = ""
        self.omit_host = False
        self.force_query = False
        self.raw_query = ""
        self.fragment = ""
        self.raw_fragment = ""

    def escaped_path(self) -> str:
        """The path as written if it is valid, else escaped where needed."""
        if self.raw_path and _VALID_PATH.issuperset(self.raw_path):
            return self.raw_path
        return "*" if self.path == "*" else escape(self.path, PATH)

    def request_target(self) -> str:
        """Path and query as in a request line."""
        target = self.opaque or self.escaped_path() or "/"
        return f"{target}?{self.raw_query}" if self.force_query or self.raw_query else target

    def authority(self) -> str:
        """Host and port for a Host header, without user and without an empty port."""
        host = escape(self.host, HOST)
        return host[:-1] if host.endswith(":") else host

    def hostname_and_port(self) -> tuple[str, str]:
        """The host without brackets, and the port's digits (empty without a port)."""
        host, port = self.host, ""
        at = host.rfind(":")
        if at > host.rfind("]"):
            host, port = host[:at], host[at + 1 :]
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return host, port

    def without_user(self) -> URL:
        """The same URL without credentials."""
        copy = URL()
        copy.__dict__.update(self.__dict__)
        copy.user = copy.password = None
        return copy

    def redacted(self) -> URL:
        """The same URL with any password replaced."""
        copy = self.without_user()
        copy.user = self.user
        copy.password = None if self.password is None else "***"
        return copy

    def __str__(self) -> str:
        out = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            out += self.opaque
        else:
            has_authority = bool(self.scheme or self.host or self.user is not None)
            if has_authority and not (self.omit_host and not self.host and self.user is None):
                if self.host or self.path or self.user is not None:
                    out += "//"
                if self.user is not None:
                    out += escape(self.user, USER)
                    if self.password is not None:
                        out += ":" + escape(self.password, USER)
                    out += "@"
                out += escape(self.host, HOST)
            path = self.escaped_path()
            if path and path[0] != "/" and self.host:
                out += "/"
            if not out and ":" in path.partition("/")[0]:
                out += "./"
            out += path
        if self.force_query or self.raw_query:
            out += f"?{self.raw_query}"
        if self.fragment:
            raw = self.raw_fragment
            valid = raw and _VALID_FRAGMENT.issuperset(raw)
            out += "#" + (raw if valid else escape(self.fragment, FRAGMENT))
        return _to_text(out)


def parse(text: str) -> URL:
    """Parse a URL or a reference. Raises URLError."""
    before, hash_sign, fragment = _to_bytes(text).partition("#")
    try:
        if not _CONTROL.isdisjoint(before + fragment):
            raise _Reason("net/url: invalid control character in URL")
        url = _parse(before)
        if hash_sign:
            url.fragment = _unescape(fragment)
            url.raw_fragment = fragment
    except _Reason as reason:
        shown = text if str(reason).startswith("net/url: invalid control") else text.partition("#")[0]
        raise URLError(f"parse {quote(shown)}: {reason}") from reason
    return url


def resolve(base: URL, reference: str) -> URL:
    """The URL of a reference found at ``base``. Raises URLError."""
    from urllib.parse import urljoin  # redirects are rare, and this import costs as much as a check

    target = parse(reference)
    try:
        if not target.scheme:
            target = parse(urljoin(str(base), reference))
    except ValueError as error:
        raise URLError(f"parse {quote(reference)}: {error}") from error
    if not target.fragment:
        target.fragment, target.raw_fragment = base.fragment, base.raw_fragment
    return target


def _parse(text: str) -> URL:
    url = URL()
    if text == "*":
        url.path = "*"
        return url
    scheme, rest = _split_scheme(text)
    url.scheme = scheme.lower()
    if rest.endswith("?") and rest.count("?") == 1:
        url.force_query = True
        rest = rest[:-1]
    else:
        rest, _, url.raw_query = rest.partition("?")
    if not rest.startswith("/"):
        if url.scheme:
            url.opaque = rest
            return url
        if ":" in rest.partition("/")[0]:
            raise _Reason("first path segment in URL cannot contain colon")
    if rest.startswith("//") and (url.scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        _parse_authority(url, authority)
    elif url.scheme and rest.startswith("/"):
        url.omit_host = True
    url.path = _unescape(rest)
    url.raw_path = "" if escape(url.path, PATH) == rest else rest
    return url


def _split_scheme(text: str) -> tuple[str, str]:
    for at, character in enumerate(text):
        if character == ":":
            if at == 0:
                raise _Reason("missing protocol scheme")
            return text[:at], text[at + 1 :]
        if character in "0123456789+-.":
            if at == 0:
                return "", text
        elif character not in _ALPHANUMERIC:
            return "", text
    return "", text


def _parse_authority(url: URL, authority: str) -> None:
    user, at_sign, host = authority.rpartition("@")
    url.host = _parse_host(host)
    if not at_sign:
        return
    if not _VALID_USER.issuperset(user):
        raise _Reason("net/url: invalid userinfo")
    name, colon, password = user.partition(":")
    url.user = _unescape(name)
    if colon:
        url.password = _unescape(password)


def _parse_host(host: str) -> str:
    colon = host.rfind(":")
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise _Reason("missing ']' in host")
        _check_port(host[end + 1 :])
    elif colon >= 0:
        _check_port(host[colon:])
    return _unescape(host, in_host=True)


def _check_port(text: str) -> None:
    if text and (text[0] != ":" or any(character not in "0123456789" for character in text[1:])):
        raise _Reason(f"invalid port {quote(text)} after host")


def _unescape(text: str, in_host: bool = False) -> str:
    """``text`` with its ``%xx`` escapes decoded. Raises _Reason."""
    if "%" not in text and not in_host:
        return text
    out = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == "%":
            code = text[at : at + 3]
            if len(code) != 3 or code[1] not in _HEX or code[2] not in _HEX:
                raise _Reason(f"invalid URL escape {quote(code)}")
            # In a host, only non-ASCII bytes and the ``%`` before an IPv6 zone may be escaped.
            if in_host and int(code[1], 16) < 8 and code != "%25":
                raise _Reason(f"invalid URL escape {quote(code)}")
            character = chr(int(code[1:], 16))
            at += 2
        elif in_host and ord(character) < 0x80 and character not in HOST:
            raise _Reason(f"invalid character {quote(character)} in host name")
        out.append(character)
        at += 1
    return "".join(out)


def escape(text: str, unescaped: frozenset[str]) -> str:
    """``text`` with every character except ``unescaped`` as ``%XX``."""
    if unescaped.issuperset(text):
        return text
    escapes = {ord(each): f"%{ord(each):02X}" for each in set(text) - unescaped}
    return text.translate(escapes)


def _to_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _to_text(data: str) -> str:
    return data.encode("latin-1").decode("utf-8", "surrogateescape")
