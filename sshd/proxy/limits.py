"""Limits of the proxy's connections: in total, per user, per instance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from sshd.proxy.realms import Denied, Instance

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """0 means no limit. A connection may use up to 30 MB for a client that does not read."""

    total: int = 1000
    per_user: int = 32
    per_instance: int = 32


class ConnectionCounts:
    """Counts authenticated connections by user and by instance."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._users: Counter[str] = Counter()
        self._instances: Counter[tuple[str, int]] = Counter()

    def take(self, instance: Instance) -> None:
        """Count one more connection. Raises :class:`Denied` if a limit is reached."""
        where = (instance.process_guid, instance.index)
        if 0 < self._limits.per_instance <= self._instances[where]:
            raise Denied(f"the instance has {self._instances[where]} connections, which is the limit")
        user = instance.user_id
        if user and 0 < self._limits.per_user <= self._users[user]:
            raise Denied(f"the user has {self._users[user]} connections, which is the limit")
        self._instances[where] += 1
        if user:
            self._users[user] += 1

    def release(self, instance: Instance) -> None:
        """Stop counting a connection that has ended."""
        _count_down(self._instances, (instance.process_guid, instance.index))
        _count_down(self._users, instance.user_id)


def _count_down(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
