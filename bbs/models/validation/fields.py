"""Error texts and small checks shared by all validations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bbs.models.errors import BBSError, ErrorType
from bbs.models.guid import has_guid_characters

INVALID_ACTION_TYPE = "invalid action type"
MAX_ANNOTATION = 10 * 1024
"""In bytes."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_HOST = re.compile(r"(?:[^/?@]*@)?(?:\[[^\]]*\]|[^\s/?@:\[\]<>\"^`{|}\\]*)(?::[0-9]*)?")


def invalid_field(name: str) -> str:
    """The standard text of one failure."""
    return f"Invalid field: {name}"


def check(errors: Sequence[str]) -> None:
    """Raise an error unless ``errors`` is empty.

    Raises:
        BBSError: InvalidRequest, with all texts joined.
    """
    if errors:
        raise BBSError(ErrorType.InvalidRequest, ", ".join(errors))


def required(value: object, name: str) -> list[str]:
    """An error for ``name`` if the value is empty or absent."""
    return [] if value else [invalid_field(name)]


def guid(value: str, name: str) -> list[str]:
    """An error unless the value is valid in a process or task guid."""
    return [] if has_guid_characters(value) else [invalid_field(name)]


def not_negative(**values: int) -> list[str]:
    """An error for each negative number."""
    return [invalid_field(name) for name, value in values.items() if value < 0]


def annotation(text: str) -> list[str]:
    """At most 10240 bytes."""
    return [invalid_field("annotation")] if len(text.encode()) > MAX_ANNOTATION else []


def has_scheme(url: str) -> bool:
    """Whether the text is a URL with a scheme, by the rules of Go's ``net/url``."""
    match = _SCHEME.fullmatch(url)
    if match is None or _CONTROL.search(url):
        return False
    rest, _, fragment = match[2].partition("#")
    if _BAD_ESCAPE.search(fragment):
        return False
    rest = rest.partition("?")[0]
    if not rest.startswith("/"):
        return True
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if not _HOST.fullmatch(host):
            return False
        rest = slash + path
    return not _BAD_ESCAPE.search(rest)


def credentials(username: str, password: str) -> list[str]:
    """Both are required, or neither; the error names the missing one."""
    if username and not password:
        return [invalid_field("image_password")]
    if password and not username:
        return [invalid_field("image_username")]
    return []
