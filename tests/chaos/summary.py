"""What a run of the kill loop did, for its last lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from common.failpoints import NAMES
from tests.chaos.inventory import Footprint


@dataclass
class Summary:
    """Counts of a run. deaths: by failpoint. starts_s: from the begin of a start to the first answer."""

    rounds: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    """How often a failpoint was not passed in time; the agent was killed then."""
    events: Counter[str] = field(default_factory=Counter)
    starts_s: list[float] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    _phases_s: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a part of a round."""
        began = time.monotonic()
        yield
        self._phases_s.setdefault(name, []).append(time.monotonic() - began)

    def died(self, where: str, *, late: bool) -> None:
        (self.late if late else self.deaths)[where] += 1

    @property
    def never_hit(self) -> list[str]:
        """The failpoints at which no agent died."""
        return [name for name in NAMES if not self.deaths[name]]

    def lines(self, *, app_lines: int, requests: int, tasks: int, problems: int) -> Iterable[str]:
        """For people. problems: losses and leaks."""
        yield f"rounds: {self.rounds}"
        for what, counts in {"deaths": self.deaths, "events": self.events}.items():
            if counts:
                yield f"{what}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}"
        if self.late:
            yield f"killed before the failpoint was passed: {dict(self.late)}"
        if self.starts_s:
            yield f"starts: {len(self.starts_s)}, {_seconds(self.starts_s)}"
        for name, times in self._phases_s.items():
            yield f"  {name}: {_seconds(times)}"
        yield f"lines of apps: {app_lines}; requests: {requests}; Tasks: {tasks}"
        if self.footprints:
            for each in fields(Footprint):
                values = [getattr(one, each.name) for one in self.footprints]
                yield f"{each.name}: {min(values)} to {max(values)}, the last {values[-1]}"
        yield f"lost or left: {problems or 'nothing'}"


def _seconds(times: list[float]) -> str:
    return f"{sum(times) / len(times):.2f} s on average, {max(times):.2f} s at most"
