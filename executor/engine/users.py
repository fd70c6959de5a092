"""User resolution for processes, from the text of passwd and group files. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from executor.errors import ProcessStartError


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A resolved user.

    exec_user: user for the engine's exec call, so that it adds the same supplementary groups.
    """

    uid: int
    gid: int
    home: str
    exec_user: str


ID_MOST = 2**31 - 1
"""Highest uid and gid that a container runtime accepts."""

_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


def _number(text: str) -> int | None:
    """A uid or gid; None for any other text."""
    if _NUMBER.fullmatch(text) is None or int(text) > ID_MOST:
        return None
    return int(text)


def _entries(text: str, width: int) -> list[list[str]]:
    rows = (line.split(":") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [row for row in rows if len(row) >= width and _number(row[2]) is not None]


def resolve_user(wanted: str, passwd: str, group: str) -> User:
    """The user ``wanted``: a name, ``uid``, ``uid:gid`` or ``name:group``; empty means root.

    A number without a passwd entry is accepted, with group 0 and home ``/``. ``root`` is uid 0 even in an
    image without a passwd file. Raises ProcessStartError for unknown names.
    """
    user_part, _, group_part = (wanted or "root").partition(":")
    rows = [row for row in _entries(passwd, 6) if _number(row[3]) is not None]
    by_name = next((row for row in rows if row[0] == user_part), None)
    row = by_name or next((row for row in rows if row[2] == user_part), None)
    if row is not None:
        uid, gid, home = int(row[2]), int(row[3]), row[5] or "/"
        exec_user = user_part
    elif (number := _number(user_part)) is not None:
        uid, gid, home = number, 0, "/"
        exec_user = user_part
    elif user_part == "root":
        uid, gid, home = 0, 0, "/"
        exec_user = "0"
    else:
        raise ProcessStartError(f"unable to find user {user_part}: {_reason(user_part, 'passwd')}")
    if group_part:
        gid = _resolve_group(group_part, group)
        exec_user = f"{exec_user}:{group_part}"
    return User(uid=uid, gid=gid, home=home, exec_user=exec_user)


def further_groups(wanted: str, passwd: str, group: str) -> tuple[int, ...]:
    """Supplementary groups of the user ``wanted``; empty if it names a group."""
    user_part, _, group_part = (wanted or "root").partition(":")
    rows = _entries(passwd, 6)
    names = {row[0] for row in rows if user_part in (row[0], row[2])}
    if group_part or not names:
        return ()
    members = _entries(group, 4)
    return tuple(int(row[2]) for row in members if not names.isdisjoint(row[3].split(",")))


def _resolve_group(wanted: str, group: str) -> int:
    for row in _entries(group, 3):
        if row[0] == wanted:
            return int(row[2])
    number = _number(wanted)
    if number is None:
        raise ProcessStartError(f"unable to find group {wanted}: {_reason(wanted, 'group')}")
    return number


def _reason(wanted: str, file: str) -> str:
    if wanted.isascii() and wanted.isdecimal():
        return f"uids and gids must be in range 0-{ID_MOST}"
    return f"no matching entries in {file} file"
