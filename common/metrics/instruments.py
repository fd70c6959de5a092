"""Values of metric families, in memory.

A measurement is an addition in a dictionary: no lock, no text, no library. The work of a scrape happens in
the scrape. Not safe for threads: for the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product

from common.metrics.families import OTHER, Family, Kind

logger = logging.getLogger(__name__)

LabelValues = tuple[str, ...]


@dataclass(slots=True)
class Distribution:
    """The state of one histogram. counts: of each bucket, and last of the values above all buckets."""

    counts: list[int]
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class FamilyValues:
    """The series of a family, by the values of their labels."""

    family: Family
    numbers: Mapping[LabelValues, float]
    distributions: Mapping[LabelValues, Distribution]


@dataclass(slots=True)
class _Series:
    """The series of a family. admitted: distinct values of each label so far."""

    family: Family
    numbers: dict[LabelValues, float] = field(default_factory=dict)
    distributions: dict[LabelValues, Distribution] = field(default_factory=dict)
    admitted: list[set[str]] = field(default_factory=list)

    def key(self, values: LabelValues) -> LabelValues:
        """The label values of a series. Raises ValueError for a wrong number of them."""
        if values in self.numbers or values in self.distributions:
            return values
        labels = self.family.labels
        if len(values) != len(labels):
            raise ValueError(f"{self.family.name} has {len(labels)} labels, got {values}")
        key = []
        for label, value, admitted in zip(labels, values, self.admitted, strict=True):
            known = value in label.values if label.values else value in admitted or len(admitted) < label.most
            key.append(value if known else OTHER)
            if known:
                admitted.add(value)
        return tuple(key)


class Instruments:
    """The values of one cell. families: those whose counters exist from the start, with the value 0."""

    def __init__(self, families: Iterable[Family] = ()) -> None:
        self._series: dict[Family, _Series] = {}
        self._refreshes: list[Callable[[], None]] = []
        for family in families:
            series = self._of(family)
            if family.kind is Kind.COUNTER and all(label.values for label in family.labels):
                for values in product(*(label.values for label in family.labels)):
                    series.numbers[values] = 0.0

    def count(self, family: Family, *values: str, by: float = 1.0) -> None:
        """Increase a counter."""
        series = self._of(family)
        key = series.key(values)
        series.numbers[key] = series.numbers.get(key, 0.0) + by

    def set(self, family: Family, number: float, *values: str) -> None:
        """Set a gauge, or a counter to a total that is counted elsewhere."""
        series = self._of(family)
        series.numbers[series.key(values)] = float(number)

    def observe(self, family: Family, number: float, *values: str) -> None:
        """Add a value to a histogram."""
        series = self._of(family)
        key = series.key(values)
        found = series.distributions.get(key)
        if found is None:
            found = series.distributions[key] = Distribution([0] * (len(family.buckets) + 1))
        found.counts[bisect_left(family.buckets, number)] += 1
        found.total += number

    @contextmanager
    def timed(self, family: Family, *values: str) -> Iterator[None]:
        """Measure the seconds of the block. Its outcome becomes the last label, see ``families.OUTCOME``."""
        begun = time.monotonic()
        outcome = "failed"
        try:
            yield
            outcome = "succeeded"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self.observe(family, time.monotonic() - begun, *values, outcome)

    @contextmanager
    def refreshed_by(self, refresh: Callable[[], None]) -> Iterator[None]:
        """Call ``refresh`` before each scrape while inside: it sets values that are states."""
        self._refreshes.append(refresh)
        try:
            yield
        finally:
            self._refreshes.remove(refresh)

    def collect(self) -> list[FamilyValues]:
        """The values of all families that have any, after a refresh. A copy, safe for another thread."""
        for refresh in self._refreshes:
            try:
                refresh()
            except Exception:
                # One part that cannot tell its state must not hide the others.
                logger.exception("metrics-not-refreshed")
        return [
            FamilyValues(
                series.family,
                dict(series.numbers),
                {key: Distribution([*each.counts], each.total) for key, each in series.distributions.items()},
            )
            for series in self._series.values()
            if series.numbers or series.distributions
        ]

    def _of(self, family: Family) -> _Series:
        series = self._series.get(family)
        if series is None:
            series = self._series[family] = _Series(family, admitted=[set() for _ in family.labels])
        return series
