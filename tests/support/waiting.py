"""Polling for conditions without an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE_S: Final = 90.0
"""Long enough for a busy machine: only a test that fails waits so long."""


async def until(holds: Callable[[], object], what: str = "", pause_s: float = 0.002) -> None:
    """Look every few ms, until something holds. Raises AssertionError, which says what was missed."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110 - nothing notifies of it
                await asyncio.sleep(pause_s)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S:g} s in vain {what and f'for {what}'}".rstrip()) from None


async def until_so(holds: Callable[[], Awaitable[bool]], pause_s: float = 0.05) -> None:
    """Poll until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - nothing notifies of it
            await asyncio.sleep(pause_s)
