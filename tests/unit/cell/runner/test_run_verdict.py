"""The result of a run, as a table."""

from __future__ import annotations

import pytest

from cell.runner.verdict import Verdict, judge
from executor.errors import EngineUnavailable, ExecutorError, ImageError
from executor.model import RunResult

pytestmark = pytest.mark.unit

WELL = RunResult()
BADLY = RunResult(failed=True, failure_reason="APP: Exited with status 1")
NO_IMAGE = RunResult(failed=True, failure_reason="failed to create container: no such image")
NO_NETWORK = RunResult(failed=True, failure_reason="failed to create container: no free host ports")
STOPPED = RunResult(failed=True, failure_reason="cancelled", stopped=True)


@pytest.mark.parametrize(
    ("result", "interrupted", "timed_out_s", "fault", "verdict"),
    [
        (WELL, False, None, None, Verdict(0)),
        (BADLY, False, None, None, Verdict(1, "APP: Exited with status 1")),
        (NO_IMAGE, False, None, ImageError("no such image"), Verdict(2, NO_IMAGE.failure_reason)),
        (NO_NETWORK, False, None, None, Verdict(3, NO_NETWORK.failure_reason)),
        (BADLY, False, None, EngineUnavailable("gone"), Verdict(3, BADLY.failure_reason)),
        (WELL, False, None, EngineUnavailable("gone"), Verdict(0)),
        (STOPPED, True, None, None, Verdict(130, "interrupted")),
        (WELL, True, None, None, Verdict(130, "interrupted")),
        (NO_IMAGE, True, None, ImageError("x"), Verdict(130, "interrupted")),
        (STOPPED, False, 1.5, None, Verdict(1, "did not end within 1.5s (--timeout)")),
        (WELL, False, 90.0, None, Verdict(1, "did not end within 1m30s (--timeout)")),
        (WELL, False, 1.0, EngineUnavailable("gone"), Verdict(3, "gone")),
        (STOPPED, True, 1.0, None, Verdict(130, "interrupted")),
    ],
)
def test_verdicts(
    result: RunResult,
    interrupted: bool,
    timed_out_s: float | None,
    fault: ExecutorError | None,
    verdict: Verdict,
) -> None:
    assert judge(result, interrupted=interrupted, timed_out_s=timed_out_s, fault=fault) == verdict
