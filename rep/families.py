"""Metric families of the rep."""

from __future__ import annotations

from typing import Final

from common.metrics.families import LONG_S, OUTCOME, Label, counter, declared_in, gauge, histogram

REQUEST_TYPES: Final = (
    "State",
    "ContainerMetrics",
    "Perform",
    "Reset",
    "UpdateLRPInstance",
    "StopLRPInstance",
    "CancelTask",
)
REQUEST_TYPE: Final = Label("request_type", REQUEST_TYPES)
WORK: Final = Label("kind", ("lrp", "task"))

REQUESTS_STARTED = counter(
    "diego_cell_requests_started_total", "Requests of peers that began.", REQUEST_TYPE, RequestsStarted=()
)
REQUESTS = counter(
    "diego_cell_requests_total",
    "Requests of peers that ended.",
    REQUEST_TYPE,
    OUTCOME,
    RequestsSucceeded=(),
    RequestsFailed=(),
    RequestsCancelled=(),
)
REQUESTS_IN_FLIGHT = gauge(
    "diego_cell_requests_in_flight", "Requests of peers in progress.", REQUEST_TYPE, RequestsInFlight=()
)
REQUEST_DURATION = histogram(
    "diego_cell_request_duration_seconds", "Time of one request.", REQUEST_TYPE, RequestLatencyMax=()
)
AUCTIONED = counter(
    "diego_cell_auctioned_work_total",
    "Instances and Tasks that an auctioneer offered.",
    WORK,
    Label("result", ("accepted", "refused")),
)

BULK_PASS_DURATION = histogram(
    "diego_cell_bulk_pass_duration_seconds",
    "Time of one comparison of all containers with the records of the BBS.",
    OUTCOME,
    buckets=LONG_S,
    RepBulkSyncDuration=(),
)
BULK_PASS_SUCCEEDED = gauge(
    "diego_cell_bulk_pass_last_success_timestamp_seconds",
    "Time of the last complete comparison, in seconds since the epoch.",
)

REPORTS_WAITING = gauge(
    "diego_cell_outcomes_waiting",
    "Reports about ended containers that the BBS has not answered.",
    OutcomesWaiting=(),
)
REPORTS_BYTES = gauge("diego_cell_outcomes_bytes", "Size of these reports in the journal.")
OLDEST_REPORT_AGE = gauge(
    "diego_cell_oldest_outcome_age_seconds",
    "Time since the oldest of these reports was recorded; 0 without any.",
    OldestOutcomeAge=(),
)
BBS_AVAILABLE = gauge("diego_cell_bbs_available", "1 unless the BBS did not answer the last report.")

PRESENCE_HELD = gauge("diego_cell_presence_held", "1 while the cell's presence is registered in Locket.")
PRESENCE_RENEWAL_DURATION = histogram(
    "diego_cell_presence_renewal_duration_seconds", "Time of one call of Locket for the presence.", OUTCOME
)

EVACUATING = gauge("diego_cell_evacuating", "1 while the cell evacuates.")
STRANDED = gauge(
    "diego_cell_stranded_evacuating_lrps",
    "Evacuating instances whose records the end of the cell could not remove.",
    StrandedEvacuatingActualLRPs=(),
)

FAMILIES: Final = declared_in(globals())
