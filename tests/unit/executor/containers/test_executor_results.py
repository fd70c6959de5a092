"""Conversion of the end of a process group into a result."""

from __future__ import annotations

import asyncio

import pytest

from executor.containers.machine import Complete
from executor.containers.results import completion, exited_on_timeout
from executor.errors import ProcessStartError
from executor.steps.base import (
    EmittableError,
    ExceededGracefulShutdownInterval,
    ExitTimeout,
    StepCancelled,
)
from executor.steps.children import CombinedError

pytestmark = pytest.mark.unit

KILLED = ExceededGracefulShutdownInterval()
EXITED = EmittableError("APP: Exited with status 1 (out of memory)")


@pytest.mark.parametrize(
    ("error", "failed", "reason"),
    [
        (None, False, ""),
        (CombinedError([StepCancelled(), KILLED]), False, ""),
        (CombinedError([KILLED, EXITED, StepCancelled()]), True, str(EXITED)),
        (CombinedError([ExitTimeout(), EXITED]), True, f"process did not exit; {EXITED}"),
        (EXITED, True, str(EXITED)),
        (KILLED, True, "exceeded graceful shutdown interval"),
        (StepCancelled(), True, "cancelled"),
        (asyncio.CancelledError(), True, "cancelled"),
        (
            ProcessStartError("unable to find user x: no matching entries in passwd file"),
            True,
            "unable to find user x: no matching entries in passwd file",
        ),
    ],
    ids=str,
)
def test_completion(error: BaseException | None, failed: bool, reason: str) -> None:
    assert completion(error) == Complete(failed=failed, failure_reason=reason, retryable=False)


@pytest.mark.parametrize(
    ("error", "timeout"),
    [
        (None, False),
        (EXITED, False),
        (asyncio.CancelledError(), False),
        (KILLED, True),
        (ExitTimeout(), True),
        (CombinedError([EXITED, CombinedError([KILLED])]), True),
        (CombinedError([EXITED, StepCancelled()]), False),
    ],
    ids=str,
)
def test_processes_that_would_not_end_are_counted(error: BaseException | None, timeout: bool) -> None:
    assert exited_on_timeout(error) is timeout
