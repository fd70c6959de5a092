"""The Grafana dashboards in ``packaging/grafana``, written by ``python -m cell.documentation.dashboards``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cell.documentation.grafana import CELL, Dashboard, Panel, Row, quantile, rate

FOLDER: Final = Path(__file__).resolve().parents[2] / "packaging" / "grafana"

STAGE: Final = "diego_cell_container_start_stage_duration_seconds"
START: Final = "diego_cell_container_start_duration_seconds"
ENGINE: Final = "diego_cell_engine_call_duration_seconds"
BBS: Final = "diego_cell_bbs_call_duration_seconds"
LAG: Final = "diego_cell_event_loop_lag_seconds"
FAILED: Final = 'outcome!="succeeded"'


def number(title: str, queries: dict[str, str], unit: str = "short") -> Panel:
    """A panel with the latest values."""
    return Panel(title, unit, queries, kind="stat")


def one(name: str) -> str:
    """A gauge of the chosen cell."""
    return f"diego_cell_{name}{{{CELL}}}"


def p90(title: str, histogram: str, label: str) -> Panel:
    """The 90th percentile of a duration, by a label."""
    return Panel(title, "s", {f"{{{{{label}}}}}": quantile(0.9, histogram, label)})


STATE_ROW = Row(
    "State",
    (
        number("Takes work", {"healthy": one("healthy")}, "bool_yes_no"),
        number("Registered", {"presence": one("presence_held")}, "bool_yes_no"),
        number("Evacuates", {"evacuating": one("evacuating")}, "bool_yes_no"),
        number("Running", {"containers": f'diego_cell_containers{{{CELL},state="running"}}'}),
        number("Reports that wait", {"reports": one("outcomes_waiting")}),
        number(
            "Next expiry of a certificate",
            {"time left": f"min({one('certificate_expiry_timestamp_seconds')}) - time()"},
            "s",
        ),
    ),
)
CONTAINERS_ROW = Row(
    "Containers",
    (
        Panel("Containers by state", "short", {"{{state}}": one("containers")}, stacked=True),
        Panel(
            "Memory",
            "bytes",
            {
                "capacity": one("capacity_memory_bytes"),
                "reserved": one("allocated_memory_bytes"),
                "used": one("container_usage_memory_bytes"),
            },
        ),
        Panel(
            "Disk",
            "bytes",
            {
                "capacity": one("capacity_disk_bytes"),
                "reserved": one("allocated_disk_bytes"),
                "used": one("container_usage_disk_bytes"),
            },
        ),
    ),
)
STARTS_ROW = Row(
    "Starts",
    (
        Panel(
            "Time of a start",
            "s",
            {"median": quantile(0.5, START), "90 %": quantile(0.9, START), "99 %": quantile(0.99, START)},
        ),
        Panel(
            "Stages of a start, average",
            "s",
            {"{{stage}}": f"{rate(f'{STAGE}_sum', 'stage')} / {rate(f'{STAGE}_count', 'stage')}"},
            stacked=True,
        ),
        Panel(
            "Stages that failed or were cancelled",
            "cps",
            {"{{stage}} {{outcome}}": rate(f"{STAGE}_count", "stage", "outcome", only=FAILED)},
        ),
        Panel(
            "Ends",
            "cps",
            {
                "ended": rate("diego_cell_containers_completed_total", "instance"),
                "did not exit after KILL": rate("diego_cell_containers_exited_on_timeout_total", "instance"),
                "{{kind}} check failed": rate("diego_cell_liveness_check_failures_total", "kind"),
            },
        ),
    ),
)
ENGINE_ROW = Row(
    "Container engine",
    (
        Panel("Calls", "ops", {"{{operation}}": rate(f"{ENGINE}_count", "operation")}),
        p90("Time of a call, 90 %", ENGINE, "operation"),
        Panel(
            "Calls that failed",
            "ops",
            {"{{operation}} {{outcome}}": rate(f"{ENGINE}_count", "operation", "outcome", only=FAILED)},
        ),
    ),
)
CONTROL_PLANE_ROW = Row(
    "Control plane",
    (
        p90("Calls of the BBS, 90 %", BBS, "call"),
        Panel(
            "Calls of the BBS that failed",
            "ops",
            {
                "{{call}} {{outcome}}": rate(f"{BBS}_count", "call", "outcome", only=FAILED),
                "{{call}} again": rate("diego_cell_bbs_call_retries_total", "call"),
            },
        ),
        Panel("Age of the oldest report", "s", {"age": one("oldest_outcome_age_seconds")}),
        p90("Requests, 90 %", "diego_cell_request_duration_seconds", "request_type"),
    ),
)
PRESENCE_ROW = Row(
    "Comparison with the BBS, presence, auctions",
    (
        p90("Bulk pass, 90 %", "diego_cell_bulk_pass_duration_seconds", "outcome"),
        p90("Renewal of the presence, 90 %", "diego_cell_presence_renewal_duration_seconds", "outcome"),
        Panel(
            "Offered work",
            "ops",
            {"{{kind}} {{result}}": rate("diego_cell_auctioned_work_total", "kind", "result")},
        ),
    ),
)
LOGS_ROW = Row(
    "Logs",
    (
        Panel(
            "Lines of apps per second",
            "short",
            {
                "within the limits": rate("diego_cell_app_log_lines_total", "instance"),
                "dropped": rate("diego_cell_app_log_dropped_lines_total", "instance"),
            },
        ),
        Panel("Bytes of apps", "Bps", {"bytes": rate("diego_cell_app_log_bytes_total", "instance")}),
        Panel(
            "Lines of sinks per second",
            "short",
            {
                "{{sink}}": rate("diego_cell_log_sink_delivered_total", "sink"),
                "{{sink}} lost": rate("diego_cell_log_sink_dropped_total", "sink"),
            },
        ),
        Panel(
            "Waiting output",
            "bytes",
            {"spool": one("spool_bytes"), "{{sink}}": one("log_sink_buffer_bytes")},
        ),
    ),
)
RESOURCES_ROW = Row(
    "Downloads, volumes, certificates",
    (
        Panel("Fetches", "ops", {"{{result}}": rate("diego_cell_cache_fetches_total", "result")}),
        p90("Time of a fetch, 90 %", "diego_cell_cache_fetch_duration_seconds", "outcome"),
        Panel("Cache", "bytes", {"content": one("cache_bytes"), "limit": one("cache_limit_bytes")}),
        p90("Mounts, 90 %", "diego_cell_volume_mount_duration_seconds", "driver"),
        Panel(
            "Instance certificates",
            "ops",
            {"{{outcome}}": rate("diego_cell_credential_creations_total", "outcome")},
        ),
    ),
)
PROCESS_ROW = Row(
    "Process",
    (
        Panel("Event loop, delay", "s", {"median": quantile(0.5, LAG), "99 %": quantile(0.99, LAG)}),
        Panel("CPU", "percentunit", {"rep": rate("process_cpu_seconds_total", "instance")}),
        Panel("Memory of the rep", "bytes", {"rep": f"process_resident_memory_bytes{{{CELL}}}"}),
        Panel(
            "Descriptors",
            "short",
            {"open": f"process_open_fds{{{CELL}}}", "limit": f"process_max_fds{{{CELL}}}"},
        ),
    ),
)

OVERVIEW_ROW = Row(
    "All cells",
    (
        number(
            "Cells",
            {
                "answer": 'count(up{job="diego-cell"} == 1) or vector(0)',
                "do not answer": 'count(up{job="diego-cell"} == 0) or vector(0)',
            },
        ),
        number(
            "Cells that take no work",
            {
                "unhealthy": "count(diego_cell_healthy == 0) or vector(0)",
                "not registered": "count(diego_cell_presence_held == 0) or vector(0)",
                "evacuate": "count(diego_cell_evacuating == 1) or vector(0)",
            },
        ),
        number("Instances and Tasks that run", {"running": 'sum(diego_cell_containers{state="running"})'}),
        number(
            "Memory that is left",
            {"left": "sum(diego_cell_remaining_memory_bytes) / sum(diego_cell_capacity_memory_bytes)"},
            "percentunit",
        ),
        Panel("Versions", "short", {"cells": "count by (version, zone) (diego_cell_info)"}, kind="table"),
    ),
)
ROOM_ROW = Row(
    "Room",
    (
        Panel("Memory that is left", "bytes", {"{{instance}}": "diego_cell_remaining_memory_bytes"}),
        Panel("Disk that is left", "bytes", {"{{instance}}": "diego_cell_remaining_disk_bytes"}),
        Panel("Containers", "short", {"{{instance}}": "sum by (instance) (diego_cell_containers)"}),
    ),
)
WORK_ROW = Row(
    "Work",
    (
        Panel("Time of a start, 90 %", "s", {"{{instance}}": quantile(0.9, START, "instance", of="")}),
        Panel(
            "Stages that failed",
            "cps",
            {
                "{{instance}} {{stage}}": rate(
                    f"{STAGE}_count", "instance", "stage", only='outcome="failed"', of=""
                )
            },
        ),
        Panel(
            "Calls of the engine that failed",
            "ops",
            {
                "{{instance}}": rate(
                    f"{ENGINE}_count", "instance", only='outcome=~"failed|unavailable"', of=""
                )
            },
        ),
    ),
)
TROUBLE_ROW = Row(
    "Trouble",
    (
        Panel("Age of the oldest report", "s", {"{{instance}}": "diego_cell_oldest_outcome_age_seconds"}),
        Panel(
            "Lines lost by sinks",
            "cps",
            {"{{instance}} {{sink}}": rate("diego_cell_log_sink_dropped_total", "instance", "sink", of="")},
        ),
        Panel("Event loop, delay, 99 %", "s", {"{{instance}}": quantile(0.99, LAG, "instance", of="")}),
        Panel(
            "Time until a certificate expires",
            "s",
            {
                "{{instance}}": (
                    "min by (instance) (diego_cell_certificate_expiry_timestamp_seconds) - time()"
                )
            },
        ),
    ),
)

ALL: Final = (
    Dashboard(
        file="diego-cells.json",
        title="Diego cells",
        rows=(OVERVIEW_ROW, ROOM_ROW, WORK_ROW, TROUBLE_ROW),
        of_one=False,
    ),
    Dashboard(
        file="diego-cell.json",
        title="Diego cell",
        rows=(
            STATE_ROW,
            CONTAINERS_ROW,
            STARTS_ROW,
            ENGINE_ROW,
            CONTROL_PLANE_ROW,
            PRESENCE_ROW,
            LOGS_ROW,
            RESOURCES_ROW,
            PROCESS_ROW,
        ),
        of_one=True,
    ),
)

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for dashboard in ALL:
        (FOLDER / dashboard.file).write_text(dashboard.text())
