"""The text that a scrape gets, in the format that it asks for: Prometheus' own or OpenMetrics.

``prometheus_client`` writes it. Its import takes longer than a scrape, so it happens in the first one, in a
thread. Values of the process (``process_...``) and of Python's garbage collector come from there, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from common.metrics.families import Family, Kind
from common.metrics.instruments import FamilyValues, Instruments

if TYPE_CHECKING:
    from prometheus_client import Metric

INFINITY = "+Inf"


@dataclass(frozen=True, slots=True)
class Page:
    """A body and its content type."""

    body: bytes
    content_type: str


async def page(instruments: Instruments, accept: str) -> Page:
    """The current values. accept: the header of the request."""
    return await asyncio.to_thread(_written, instruments.collect(), accept)


def _written(values: Sequence[FamilyValues], accept: str) -> Page:
    from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(values))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return Page(encode(registry), content_type)


class _Values:
    """Values as a collector of ``prometheus_client``."""

    def __init__(self, values: Sequence[FamilyValues]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for each in self._values:
            yield _metric(each)


def _metric(values: FamilyValues) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    family = values.family
    labels = [label.name for label in family.labels]
    if family.kind is Kind.HISTOGRAM:
        metric = HistogramMetricFamily(family.name, family.text, labels=labels)
        for key, each in values.distributions.items():
            metric.add_metric(key, list(_cumulative(family, each.counts)), each.total)
        return metric
    simple = (CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily)(
        family.name, family.text, labels=labels
    )
    for key, number in values.numbers.items():
        simple.add_metric(key, number)
    return simple


def _cumulative(family: Family, counts: Sequence[int]) -> Iterator[tuple[str, float]]:
    """Upper bounds, and the number of values up to each."""
    bounds = (*map(str, family.buckets), INFINITY)
    return zip(bounds, accumulate(counts), strict=True)
