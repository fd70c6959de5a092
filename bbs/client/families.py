"""Metric families of the BBS client."""

from __future__ import annotations

from typing import Final

from common.metrics.families import Label, counter, declared_in, histogram

SUCCEEDED, REFUSED, UNANSWERED, CANCELLED = "succeeded", "refused", "unanswered", "cancelled"

CALL: Final = Label("call", most=32)
"""The path of a call, as in :mod:`bbs.wire.routes`."""

CALL_DURATION = histogram(
    "diego_cell_bbs_call_duration_seconds",
    "Time of one call of the BBS, with its retries. The outcome refused is an answer with an error.",
    CALL,
    Label("outcome", (SUCCEEDED, REFUSED, UNANSWERED, CANCELLED)),
)
CALL_RETRIES = counter(
    "diego_cell_bbs_call_retries_total", "Attempts of calls of the BBS after the first.", CALL
)

FAMILIES: Final = declared_in(globals())
