"""Loops that turn, that are late, and that have ended."""

from __future__ import annotations

import pytest

from common.liveness import Liveness

pytestmark = pytest.mark.unit


def test_a_loop_is_late_beyond_its_limit_and_no_longer_after_a_turn() -> None:
    now = [100.0]
    liveness = Liveness(lambda: now[0])
    with liveness.loop("slow", 60) as slow, liveness.loop("fast", 5) as fast:
        now[0] += 5
        assert liveness.late() == {}
        now[0] += 1
        assert liveness.late() == {"fast": 6.0}
        fast()
        assert liveness.late() == {}
        now[0] += 60
        slow()
        assert liveness.late() == {"fast": 60.0}
    assert liveness.late() == {}


def test_a_loop_that_begins_again_is_the_one_that_counts() -> None:
    now = [0.0]
    liveness = Liveness(lambda: now[0])
    first = liveness.loop("a", 1)
    first.__enter__()
    now[0] = 10
    with liveness.loop("a", 1):
        first.__exit__(None, None, None)
        assert liveness.late() == {}
        now[0] = 12
        assert liveness.late() == {"a": 2.0}
