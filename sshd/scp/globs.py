"""Glob patterns.

``*``, ``?``, ``[...]``, ``\\x``; a wildcard also matches a leading dot.
"""

from __future__ import annotations

import os
import re

_MAGIC = re.compile(r"[*?\[\\]")


def expand(pattern: str) -> list[str]:
    """The matching paths, sorted; the pattern itself if none matches or it is malformed."""
    if not _MAGIC.search(pattern):
        return [pattern]
    try:
        found = _matches(pattern)
    except re.error:
        return [pattern]
    return found or [pattern]


def _matches(pattern: str) -> list[str]:
    folder, slash, last = pattern.rpartition("/")
    expression = re.compile(_translate(last), re.DOTALL)
    if not slash:
        folders = [""]
    elif not folder:
        folders = ["/"]
    elif _MAGIC.search(folder):
        folders = [f"{match}/" for match in _matches(folder)]
    else:
        folders = [f"{folder}/"]
    found: list[str] = []
    for place in folders:
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        found += [place + name for name in sorted(names) if expression.fullmatch(name)]
    return found


def _translate(pattern: str) -> str:
    """The pattern as a regular expression. Raises ``re.error`` for a malformed pattern."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "\\":
            if at == len(pattern):
                raise re.error("backslash at the end")
            out.append(re.escape(pattern[at]))
            at += 1
        elif character == "[":
            text, at = _class(pattern, at)
            out.append(text)
        else:
            out.append(re.escape(character))
    return "".join(out)


def _class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while True:
        if at < len(pattern) and pattern[at] == "]" and ranges:
            return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1
        low, at = _class_member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_member(pattern, at + 1)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")


def _class_member(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise re.error("malformed class")
    if pattern[at] == "\\":
        at += 1
        if at == len(pattern):
            raise re.error("backslash at the end")
    return pattern[at], at + 1
