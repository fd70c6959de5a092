"""Authentication realms: they map user name and password to an instance."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Protocol

MAX_INDEX = 2**31 - 1

_DIEGO = re.compile(r"diego:([a-zA-Z0-9_-]+)/([0-9]+)")


class Denied(Exception):
    """Access is denied. The text is for the log; the client only sees a refusal."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The instance a user may reach. user_id: the platform's id of the user; empty if unknown."""

    process_guid: str
    index: int
    user_id: str = ""


class Realm(Protocol):
    async def instance(self, user: str, password: str) -> Instance | None:
        """The instance for the user; None if the name is not of this realm. Raises :class:`Denied`."""


class DiegoRealm:
    """``diego:PROCESS_GUID/INDEX`` with one password for all."""

    def __init__(self, credentials: str) -> None:
        """Raises ``ValueError`` for an empty password."""
        if not credentials:
            raise ValueError("an empty password would admit every client")
        self._credentials = credentials.encode("utf-8", "surrogateescape")

    async def instance(self, user: str, password: str) -> Instance | None:
        found = _DIEGO.fullmatch(user)
        if found is None:
            return None
        given = password.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._credentials):
            raise Denied("Invalid credentials")
        return Instance(found[1], instance_index(found[2]))


def instance_index(text: str) -> int:
    """The index in a user name. Raises :class:`Denied` for one that no instance can have."""
    if len(text) > 10 or int(text) > MAX_INDEX:
        raise Denied("Invalid credentials")
    return int(text)
