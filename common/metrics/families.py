"""Metric families: name, meaning, labels and buckets. Each package declares its own as constants.

Names follow Prometheus: prefix of the program, base units, ``_total`` for counters. The number of series of a
family is bounded by its labels: a label has a fixed set of values, or a limit for the number of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Kind(Enum):
    """What the value of a family is; the names are those of the exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label. values: all of them; empty if the configuration or a peer determines them.

    most: the limit for the latter. Values beyond it become :data:`OTHER`.
    """

    name: str
    values: tuple[str, ...] = ()
    most: int = 16


OTHER: Final = "other"
"""The value of a label that has reached its limit."""

OUTCOMES: Final = ("succeeded", "failed", "cancelled")
OUTCOME: Final = Label("outcome", OUTCOMES)
"""The last label of operations that :meth:`common.metrics.instruments.Instruments.timed` measures."""

SHORT_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets of calls that usually take milliseconds."""
LONG_S: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    900.0,
)
"""Buckets of work that may take minutes."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Family:
    """A metric family.

    text: its meaning, one sentence. labels: in the order of their values. buckets: upper bounds of a
    histogram, ascending. replaces: names of the component metrics of Diego with the same content, each with
    the label values of its series; an empty tuple if it has no fixed ones.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    replaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def declared_in(names: Mapping[str, object]) -> tuple[Family, ...]:
    """The families among the constants of a module, in their order. names: ``globals()``."""
    return tuple(value for value in names.values() if isinstance(value, Family))


def counter(name: str, text: str, *labels: Label, **replaces: tuple[str, ...]) -> Family:
    """A counter; its name ends with ``_total``."""
    return Family(name=name, kind=Kind.COUNTER, text=text, labels=labels, replaces=replaces)


def gauge(name: str, text: str, *labels: Label, **replaces: tuple[str, ...]) -> Family:
    """A gauge."""
    return Family(name=name, kind=Kind.GAUGE, text=text, labels=labels, replaces=replaces)


def histogram(
    name: str, text: str, *labels: Label, buckets: tuple[float, ...] = SHORT_S, **replaces: tuple[str, ...]
) -> Family:
    """A histogram, in seconds."""
    return Family(
        name=name, kind=Kind.HISTOGRAM, text=text, labels=labels, buckets=buckets, replaces=replaces
    )
