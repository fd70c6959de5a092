"""How many connections the proxy serves: in all, of one user, to one instance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from sshd.proxy.realms import Denied, Instance

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """0 is no limit. A connection may make the proxy keep up to 30 MB for a client that takes nothing."""

    in_all: int = 1000
    per_user: int = 32
    per_instance: int = 32


class Places:
    """The authenticated connections, counted by user and by instance."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._users: Counter[str] = Counter()
        self._instances: Counter[tuple[str, int]] = Counter()

    def take(self, instance: Instance) -> None:
        """Count one more connection. Raises :class:`Denied` when there are too many."""
        where = (instance.process_guid, instance.index)
        if 0 < self._limits.per_instance <= self._instances[where]:
            raise Denied(f"the instance has {self._instances[where]} connections, which is the limit")
        user = instance.user_id
        if user and 0 < self._limits.per_user <= self._users[user]:
            raise Denied(f"the user has {self._users[user]} connections, which is the limit")
        self._instances[where] += 1
        if user:
            self._users[user] += 1

    def give_back(self, instance: Instance) -> None:
        """A connection that was counted has ended."""
        _count_down(self._instances, (instance.process_guid, instance.index))
        _count_down(self._users, instance.user_id)


def _count_down(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
