"""All metric families of a cell, and those of its process."""

from __future__ import annotations

from typing import Final

from bbs.client import families as bbs_client
from common.metrics.families import Label, counter, declared_in, gauge, histogram
from executor.telemetry import families as executor
from rep import families as rep
from sshd.proxy import families as ssh_proxy

CERTIFICATES: Final = ("rep", "locket", "loggregator", "instance_ca")

INFO = gauge(
    "diego_cell_info",
    "1. The labels tell which cell this is, and its version.",
    Label("cell_id", most=1),
    Label("zone", most=1),
    Label("version", most=1),
)
LOOP_LAG = histogram(
    "diego_cell_event_loop_lag_seconds",
    "How late the event loop runs a timer, measured twice a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
CERTIFICATE_EXPIRY = gauge(
    "diego_cell_certificate_expiry_timestamp_seconds",
    "End of the validity of a certificate file, in seconds since the epoch.",
    Label("certificate", CERTIFICATES),
)
COMPONENT_LOG_LOST = counter(
    "diego_cell_component_log_lost_lines_total", "Lines of the component log that its reader did not take."
)

FAMILIES: Final = {
    "Process": declared_in(globals()),
    "Containers": executor.FAMILIES,
    "Control plane": (*rep.FAMILIES, *bbs_client.FAMILIES),
}
"""By the title of their part of ``docs/metrics.md``."""

SSH_PROXY: Final = ssh_proxy.FAMILIES
"""Those of ``cell ssh-proxy``, a program of its own."""

ALL: Final = tuple(family for families in FAMILIES.values() for family in families)
