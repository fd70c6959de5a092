"""Durations of engine operations, for metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from common.metrics.instruments import Instruments
from executor.errors import EngineUnavailable
from executor.telemetry.families import CANCELLED, ENGINE_CALL_DURATION, FAILED, SUCCEEDED, UNAVAILABLE

P = ParamSpec("P")
T = TypeVar("T")


class Measured(Protocol):
    """An engine with instruments."""

    instruments: Instruments


E = TypeVar("E", bound=Measured)
Method = Callable[Concatenate[E, P], Coroutine[Any, Any, T]]


def measured(operation: str) -> Callable[[Method[E, P, T]], Method[E, P, T]]:
    """Measure the calls of a method as ``operation``, by their outcome."""

    def decorate(method: Method[E, P, T]) -> Method[E, P, T]:
        @wraps(method)
        async def call(engine: E, /, *args: P.args, **kwargs: P.kwargs) -> T:
            begun, outcome = time.monotonic(), FAILED
            try:
                result = await method(engine, *args, **kwargs)
                outcome = SUCCEEDED
            except EngineUnavailable:
                outcome = UNAVAILABLE
                raise
            except asyncio.CancelledError:
                outcome = CANCELLED
                raise
            finally:
                seconds = time.monotonic() - begun
                engine.instruments.observe(ENGINE_CALL_DURATION, seconds, operation, outcome)
            return result

        return call

    return decorate
