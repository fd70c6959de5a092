"""Thread pools: long work of one kind does not delay another kind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from executor.pools import ARCHIVES, READINGS
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


async def test_readings_do_not_wait_for_archives() -> None:
    """A few large downloads that unpack do not delay the look at limits, nor the loop's own threads."""
    go_on = threading.Event()
    unpacking = [asyncio.create_task(ARCHIVES.run(go_on.wait, 60)) for _ in range(50)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await READINGS.run(sum, [1, 2]) == 3
            assert await asyncio.to_thread(sum, [3, 4]) == 7
    finally:
        go_on.set()
    assert all(await asyncio.gather(*unpacking))


async def test_an_error_is_that_of_the_work() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await READINGS.run(int, "x")
