"""When the waiting reports are sent. Pure.

While the BBS is available, every report has its own time. While it is not, one report at a time probes it;
the first answer makes all reports due, spread over :data:`SPREAD_S`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from bbs.backoff import Backoff

PARALLEL: Final = 16
"""Maximum number of reports sent at the same time."""
PROBES: Final = Backoff(attempts=0, first_s=0.1, most_s=1.0)
"""Pauses between probes of an unavailable BBS; short, because all outcomes follow 2 s after its return."""
REPEATS: Final = Backoff(attempts=0, first_s=1.0, most_s=60.0)
"""Pauses between attempts of a report that the BBS refuses."""
SPREAD_S: Final = 0.5
"""Longest random delay of a report after the return of the BBS: all cells have reports then."""


def due(
    waiting: Mapping[str, float],
    in_flight: Collection[str],
    now: float,
    *,
    probe_at: float | None,
    parallel: int = PARALLEL,
) -> tuple[list[str], float | None]:
    """The guids of the reports to send now, and the time to look again; None: when an attempt ends.

    waiting: guid -> the time at which the report is due. probe_at: the time of the next probe, while the BBS
    is unavailable.
    """
    idle = sorted((at, guid) for guid, at in waiting.items() if guid not in in_flight)
    if probe_at is not None:
        if in_flight or not idle:
            return [], None
        return ([idle[0][1]], None) if now >= probe_at else ([], probe_at)
    room = max(parallel - len(in_flight), 0)
    ready = [guid for at, guid in idle if at <= now]
    later = next((at for at, _ in idle if at > now), None)
    return ready[:room], later
