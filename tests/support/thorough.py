"""Selection of test cases: all, or a sample of the large tables and fewer examples of properties.

``make test-all`` sets DIEGO_CELL_TESTS=all. A sample is the same in every run, so that a failure comes again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

THOROUGH = os.environ.get("DIEGO_CELL_TESTS") == "all"

T = TypeVar("T")


def examples(count: int) -> int:
    """How many examples of a property: all of them in a thorough run, a quarter otherwise."""
    return count if THOROUGH else max(count // 4, 1)


def sampled(cases: Sequence[T], count: int) -> list[T]:
    """``count`` of the cases, evenly spaced, or all of them in a thorough run."""
    if THOROUGH or len(cases) <= count:
        return list(cases)
    return [cases[index * len(cases) // count] for index in range(count)]
