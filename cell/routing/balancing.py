"""The order in which a request tries the endpoints of its pool."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from cell.routing.table import Endpoint, Pool

REST_S: Final = 30.0
"""Time in which an endpoint that refused a connection comes after the others."""

MAX_REMEMBERED: Final = 10_000
"""Endpoints and pools that are remembered; more forget all."""


class Balancer:
    """Round robin over each pool. Endpoints that failed lately, and those of suspect cells, come last.

    now: seconds; replaced in tests.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._turns: dict[str, int] = {}
        self._failed_at: dict[str, float] = {}

    def ordered(self, pool: Pool, preferred: str = "") -> list[Endpoint]:
        """The endpoints, the one to try first at the front. preferred: instance GUID of a sticky session."""
        if not pool.endpoints:
            return []
        if len(self._turns) > MAX_REMEMBERED:
            self._turns.clear()
        turn = self._turns.get(pool.name, 0) % len(pool.endpoints)
        self._turns[pool.name] = turn + 1
        rotated = pool.endpoints[turn:] + pool.endpoints[:turn]
        now = self._now()
        return sorted(
            rotated,
            key=lambda each: (self._rests(each, now), each.suspect, each.instance_guid != preferred),
        )

    def failed(self, endpoint: Endpoint) -> None:
        """The endpoint accepted no connection."""
        if len(self._failed_at) > MAX_REMEMBERED:
            self._failed_at.clear()
        self._failed_at[_key(endpoint)] = self._now()

    def answered(self, endpoint: Endpoint) -> None:
        """The endpoint accepted a connection."""
        self._failed_at.pop(_key(endpoint), None)

    def _rests(self, endpoint: Endpoint, now: float) -> bool:
        failed_at = self._failed_at.get(_key(endpoint))
        return failed_at is not None and now - failed_at < REST_S


def _key(endpoint: Endpoint) -> str:
    """An address is used again by another instance, which has not failed."""
    return f"{endpoint.instance_guid} {endpoint.address}"
