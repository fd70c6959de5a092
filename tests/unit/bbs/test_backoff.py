"""The retry policy: number of attempts, pauses, final error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff

pytestmark = pytest.mark.unit


class Flaky:
    """Fails with ``error`` so many times, then answers how often it was called."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls


@given(first=st.floats(0.01, 2), most=st.floats(2, 60), failures=st.integers(1, 12))
async def test_pauses_double_up_to_the_longest_and_are_random(
    first: float, most: float, failures: int
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    backoff = Backoff(attempts=0, first_s=first, most_s=most, sleep=sleep)
    flaky = Flaky(failures, KeyError())
    assert await backoff.retrying(retry_if_exception_type(KeyError))(flaky) == failures + 1
    longest = [min(most, first * 2**number) for number in range(failures)]
    for pause, limit in zip(pauses, longest, strict=True):
        assert limit * 0.499 <= pause <= limit * 1.001


async def test_the_last_failure_is_raised_as_it_is() -> None:
    async def sleep(seconds: float) -> None:
        """No time passes."""

    flaky = Flaky(9, KeyError("reason"))
    with pytest.raises(KeyError, match="reason"):
        await Backoff(attempts=3, sleep=sleep).retrying(retry_if_exception_type(KeyError))(flaky)
    assert flaky.calls == 3


async def test_another_failure_is_not_retried() -> None:
    flaky = Flaky(9, ValueError("another"))
    with pytest.raises(ValueError, match="another"):
        await Backoff().retrying(retry_if_exception_type(KeyError))(flaky)
    assert flaky.calls == 1
