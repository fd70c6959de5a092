"""The two authentication realms: they map user name and password to an instance."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Protocol

MAX_INDEX = 2**31 - 1

_DIEGO = re.compile(r"diego:([a-zA-Z0-9_-]+)/([0-9]+)")
_CF = re.compile(r"cf:([a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12})/([0-9]+)")


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


class AppAccess(Protocol):
    """Asks the platform about a user of the cf realm."""

    async def instance(self, app_guid: str, index: int, code: str) -> Instance:
        """Raises :class:`Denied`."""


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
        return Instance(found[1], _index(found[2]))


class CloudFoundryRealm:
    """``cf:APP_GUID/INDEX`` with a one-time code as password."""

    def __init__(self, access: AppAccess) -> None:
        self._access = access

    async def instance(self, user: str, password: str) -> Instance | None:
        found = _CF.fullmatch(user)
        if found is None:
            return None
        return await self._access.instance(found[1], _index(found[2]), password)


def _index(text: str) -> int:
    if len(text) > 10 or int(text) > MAX_INDEX:
        raise Denied("Invalid credentials")
    return int(text)
