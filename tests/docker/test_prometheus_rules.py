"""The alerts for Prometheus, checked and evaluated by ``promtool``; their metrics and runbooks exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from cell.assembly.catalogue import ALL
from cell.documentation import dashboards
from cell.documentation.grafana import Dashboard
from common.metrics.families import Kind
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.docker  # promtool is installed with the programs of these tests

RULES = REPOSITORY / "packaging/prometheus/diego-cell.rules.yml"
[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: Mapping[str, Mapping[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}

STAGE = "diego_cell_container_start_stage_duration_seconds"
CALL = "diego_cell_engine_call_duration_seconds"
BBS_CALL = "diego_cell_bbs_call_duration_seconds"
DAY = 86400


@dataclass(frozen=True)
class Case:
    """Series of two cells: ``bad`` has the alert from a minute on, ``good`` never. Values at each minute.

    labels: what the alert has beside name, instance and severity.
    """

    alert: str
    at: str
    bad: Mapping[str, str]
    good: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)


CASES = [
    Case("DiegoCellDown", "3m", {'up{job="diego-cell"}': "0x9"}, {'up{job="diego-cell"}': "1x9"}),
    Case(
        "DiegoCellEngineUnhealthy",
        "3m",
        {"diego_cell_engine_health_check_failed": "1x9"},
        {"diego_cell_engine_health_check_failed": "1 0x9"},
    ),
    Case(
        "DiegoCellJournalTrouble",
        "2m",
        {"diego_cell_journal_trouble": "1x9"},
        {"diego_cell_journal_trouble": "0x9"},
    ),
    Case(
        "DiegoCellPresenceLost",
        "2m",
        {"diego_cell_presence_held": "0x9"},
        {"diego_cell_presence_held": "0 1x9"},
    ),
    Case(
        "DiegoCellRestarts",
        "8m",
        {'process_start_time_seconds{job="diego-cell"}': "1 2 3 4 5x9"},
        {'process_start_time_seconds{job="diego-cell"}': "1 2x9"},
    ),
    Case(
        "DiegoCellFull",
        "31m",
        {
            "diego_cell_remaining_memory_bytes": "1x40",
            "diego_cell_capacity_memory_bytes": "100x40",
        },
        {
            "diego_cell_remaining_memory_bytes": "10x40",
            "diego_cell_capacity_memory_bytes": "100x40",
            "diego_cell_remaining_containers": "6x40",
            "diego_cell_capacity_containers": "100x40",
        },
    ),
    Case(
        "DiegoCellStartsFail",
        "15m",
        {
            f'{STAGE}_count{{outcome="failed",stage="network"}}': "0+1x20",
            f'{STAGE}_count{{outcome="succeeded",stage="image"}}': "0+2x20",
        },
        {
            f'{STAGE}_count{{outcome="failed",stage="network"}}': "0+1x20",
            f'{STAGE}_count{{outcome="failed",stage="healthy"}}': "0+20x20",
            f'{STAGE}_count{{outcome="succeeded",stage="image"}}': "0+20x20",
        },
        {"stage": "network"},
    ),
    Case(
        "DiegoCellCreationSlow",
        "31m",
        {
            f'{STAGE}_bucket{{outcome="succeeded",stage="create",le="10.0"}}': "0+1x40",
            f'{STAGE}_bucket{{outcome="succeeded",stage="create",le="30.0"}}': "0+2x40",
            f'{STAGE}_bucket{{outcome="succeeded",stage="create",le="+Inf"}}': "0+2x40",
        },
        {
            f'{STAGE}_bucket{{outcome="succeeded",stage="create",le="10.0"}}': "0+2x40",
            f'{STAGE}_bucket{{outcome="succeeded",stage="create",le="+Inf"}}': "0+2x40",
        },
    ),
    Case(
        "DiegoCellEngineCallsFail",
        "21m",
        {
            f'{CALL}_count{{operation="create",outcome="unavailable"}}': "0+1x30",
            f'{CALL}_count{{operation="list",outcome="succeeded"}}': "0+4x30",
        },
        {
            f'{CALL}_count{{operation="create",outcome="failed"}}': "0+1x30",
            f'{CALL}_count{{operation="list",outcome="succeeded"}}': "0+40x30",
        },
    ),
    Case(
        "DiegoCellProcessesDoNotEnd",
        "9m",
        {"diego_cell_containers_exited_on_timeout_total": "0x4 1x9"},
        {"diego_cell_containers_exited_on_timeout_total": "1x19"},
    ),
    Case(
        "DiegoCellVolumesFail",
        "15m",
        {'diego_cell_volume_mount_duration_seconds_count{driver="nfs",outcome="failed"}': "0+1x20"},
        {'diego_cell_volume_mount_duration_seconds_count{driver="nfs",outcome="succeeded"}': "0+9x20"},
        {"driver": "nfs"},
    ),
    Case(
        "DiegoCellDownloadsFail",
        "15m",
        {
            'diego_cell_cache_fetches_total{result="failed"}': "0+1x20",
            'diego_cell_cache_fetches_total{result="miss"}': "0+1x20",
        },
        {
            'diego_cell_cache_fetches_total{result="failed"}': "0+1x20",
            'diego_cell_cache_fetches_total{result="hit"}': "0+9x20",
        },
    ),
    Case(
        "DiegoCellReportsWait",
        "12m",
        {"diego_cell_oldest_outcome_age_seconds": "0+60x20"},
        {"diego_cell_oldest_outcome_age_seconds": "0 60 120 0x20"},
    ),
    Case(
        "DiegoCellBBSUnavailable",
        "6m",
        {
            f'{BBS_CALL}_count{{call="/v1/tasks/list.r3",outcome="unanswered"}}': "0+1x9",
            f'{BBS_CALL}_count{{call="/v1/tasks/list.r3",outcome="succeeded"}}': "0+1x9",
        },
        {
            f'{BBS_CALL}_count{{call="/v1/tasks/list.r3",outcome="refused"}}': "0+1x9",
            f'{BBS_CALL}_count{{call="/v1/tasks/list.r3",outcome="succeeded"}}': "0+1x9",
            "diego_cell_bbs_available": "1x9",
        },
    ),
    Case(
        "DiegoCellBulkPassStale",
        "12m",
        {"diego_cell_bulk_pass_last_success_timestamp_seconds": "0x20"},
        {"diego_cell_bulk_pass_last_success_timestamp_seconds": "0+60x20"},
    ),
    Case(
        "DiegoCellRequestsFail",
        "10m",
        {'diego_cell_requests_total{outcome="failed",request_type="State"}': "0+1x20"},
        {'diego_cell_requests_total{outcome="failed",request_type="Reset"}': "0+1x20"},
        {"request_type": "State"},
    ),
    Case(
        "DiegoCellEvacuationStuck",
        "31m",
        {"diego_cell_evacuating": "1x40"},
        {"diego_cell_evacuating": "1x20 0x20"},
    ),
    Case(
        "DiegoCellCertificateExpires",
        "1m",
        {'diego_cell_certificate_expiry_timestamp_seconds{certificate="rep"}': f"{13 * DAY}x9"},
        {'diego_cell_certificate_expiry_timestamp_seconds{certificate="rep"}': f"{15 * DAY}x9"},
        {"certificate": "rep"},
    ),
    Case(
        "DiegoCellCertificateExpiresSoon",
        "1m",
        {'diego_cell_certificate_expiry_timestamp_seconds{certificate="rep"}': f"{DAY}x9"},
        {'diego_cell_certificate_expiry_timestamp_seconds{certificate="rep"}': f"{3 * DAY}x9"},
        {"certificate": "rep"},
    ),
    Case(
        "DiegoCellLogsLost",
        "9m",
        {'diego_cell_log_sink_dropped_total{sink="stdout"}': "0x4 7x9"},
        {'diego_cell_log_sink_dropped_total{sink="stdout"}': "7x19"},
        {"sink": "stdout"},
    ),
    Case(
        "DiegoCellLogSinkUnreachable",
        "6m",
        {'diego_cell_log_sink_unreachable{sink="loggregator"}': "1x9"},
        {'diego_cell_log_sink_unreachable{sink="loggregator"}': "1 1 0x9"},
        {"sink": "loggregator"},
    ),
    Case(
        "DiegoCellSpoolFills",
        "6m",
        {"diego_cell_spool_bytes": "90x9", "diego_cell_spool_limit_bytes": "100x9"},
        {"diego_cell_spool_bytes": "70x9", "diego_cell_spool_limit_bytes": "100x9"},
    ),
    Case(
        "DiegoCellComponentLogLost",
        "9m",
        {"diego_cell_component_log_lost_lines_total": "0x4 1x9"},
        {"diego_cell_component_log_lost_lines_total": "0x19"},
    ),
    Case(
        "DiegoCellEventLoopSlow",
        "21m",
        {
            'diego_cell_event_loop_lag_seconds_bucket{le="0.5"}': "0+100x30",
            'diego_cell_event_loop_lag_seconds_bucket{le="1.0"}': "0+120x30",
            'diego_cell_event_loop_lag_seconds_bucket{le="+Inf"}': "0+120x30",
        },
        {
            'diego_cell_event_loop_lag_seconds_bucket{le="0.5"}': "0+120x30",
            'diego_cell_event_loop_lag_seconds_bucket{le="+Inf"}': "0+120x30",
        },
    ),
    Case(
        "DiegoCellDescriptorsUsedUp",
        "6m",
        {'process_open_fds{job="diego-cell"}': "90x9", 'process_max_fds{job="diego-cell"}': "100x9"},
        {'process_open_fds{job="diego-cell"}': "10x9", 'process_max_fds{job="diego-cell"}': "100x9"},
    ),
]


def promtool(*arguments: object) -> str:
    """The output of promtool. Raises AssertionError with it if it fails."""
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_instance(series: Mapping[str, str], instance: str) -> list[dict[str, str]]:
    """The input series of promtool, with the label ``instance``."""
    rows = []
    for text, values in series.items():
        name, _, labels = text.rstrip("}").partition("{")
        pairs = [f'instance="{instance}"', *filter(None, [labels])]
        rows.append({"series": f"{name}{{{','.join(pairs)}}}", "values": values})
    return rows


def as_test(case: Case) -> dict[str, Any]:
    labels = {"alertname": case.alert, "instance": "bad", **case.labels}
    shown = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    by = ",".join(labels)
    return {
        "interval": "1m",
        "input_series": of_instance(case.bad, "bad") + of_instance(case.good, "good"),
        "promql_expr_test": [
            {
                "expr": f'count by ({by}) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
                "eval_time": case.at,
                "exp_samples": [{"labels": f"{{{shown}}}", "value": 1}],
            }
        ],
    }


def test_every_alert_fires_for_the_bad_cell_only(tmp_path: Path) -> None:
    assert [case.alert for case in CASES] == list(ALERTS)
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [*map(as_test, CASES)]}
    file = tmp_path / "alerts.test.yml"
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", file)


def test_the_text_of_an_alert_names_the_cell_and_its_trouble(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.alert == "DiegoCellReportsWait")
    document = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "interval": "1m",
                "input_series": of_instance(case.bad, "10.0.0.1:1800"),
                "alert_rule_test": [
                    {
                        "alertname": case.alert,
                        "eval_time": case.at,
                        "exp_alerts": [
                            {
                                "exp_labels": {"instance": "10.0.0.1:1800", "severity": "warning"},
                                "exp_annotations": {
                                    "summary": "10.0.0.1:1800 reports an ended container for 12m 0s in vain.",
                                    "runbook": "docs/monitoring.md#diegocellreportswait",
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "text.test.yml"
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", file)


def test_every_alert_says_how_bad_it_is_and_has_its_runbook() -> None:
    page = (REPOSITORY / "docs/monitoring.md").read_text()
    sections = {f"docs/monitoring.md#{title.lower()}" for title in re.findall(r"^### (\w+)$", page, re.M)}
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["annotations"]["runbook"] in sections, name
        assert "$labels.instance" in rule["annotations"]["summary"], name
    used = {rule["annotations"]["runbook"] for rule in ALERTS.values()}
    assert sections - used == set()


def unknown_metrics(expressions: list[str]) -> set[str]:
    """Names in PromQL that no cell has."""
    known = {"up", "process_start_time_seconds", "process_open_fds", "process_max_fds"}
    known |= {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    for family in ALL:
        suffixes = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        known |= {family.name + suffix for suffix in suffixes}
    used = {
        name
        for text in expressions
        for name in re.findall(r"\b(?:diego_cell|process)_\w+|\bup\b", re.sub(r'"[^"]*"', '""', text))
    }
    return used - known


def test_alerts_use_metrics_that_exist() -> None:
    assert unknown_metrics([rule["expr"] for rule in ALERTS.values()]) == set()


@pytest.mark.parametrize("dashboard", dashboards.ALL, ids=lambda each: each.file)
def test_a_dashboard_is_current_and_asks_for_what_exists(dashboard: Dashboard, tmp_path: Path) -> None:
    """Otherwise: ``python -m cell.documentation.dashboards``."""
    assert (dashboards.FOLDER / dashboard.file).read_text() == dashboard.text()
    expressions = dashboard.expressions()
    assert unknown_metrics(expressions) == set()
    plain = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in expressions]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)
