"""Grafana dashboards as JSON: rows of panels, and a panel is a title, a unit and queries.

Everything else that Grafana wants is the same for all of them. Data source and cell are variables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WIDTH: Final = 24
"""Columns of Grafana's grid."""
HEIGHT: Final = 8
SCHEMA: Final = 39
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
CELL: Final = 'instance=~"$instance"'
"""Matches the chosen cell."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. unit: one of Grafana's. queries: PromQL by the legend of its series.

    kind: ``timeseries``, ``stat`` or ``table``. stacked: the series add up.
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    kind: str = field(default="timeseries", kw_only=True)
    stacked: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels of equal width."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard and the name of its file. of_one: it shows a chosen cell."""

    file: str
    title: str
    rows: tuple[Row, ...]
    of_one: bool

    def expressions(self) -> list[str]:
        """All queries."""
        return [text for row in self.rows for panel in row.panels for text in panel.queries.values()]

    def text(self) -> str:
        """The content of its file."""
        document = {
            "uid": self.file.removesuffix(".json"),
            "title": self.title,
            "tags": ["diego-cell"],
            "schemaVersion": SCHEMA,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": [*_variables(of_one=self.of_one)]},
            "panels": [*_placed(self.rows)],
        }
        return json.dumps(document, indent=1) + "\n"


def rate(counter: str, *by: str, only: str = "", of: str = CELL) -> str:
    """The increase of a counter per second, summed by labels. only, of: further matchers."""
    matchers = ",".join(filter(None, (of, only)))
    return f"sum by ({', '.join(by)}) (rate({counter}{{{matchers}}}[$__rate_interval]))"


def quantile(fraction: float, histogram: str, *by: str, of: str = CELL) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({fraction:g}, {rate(f'{histogram}_bucket', *by, 'le', of=of)})"


def _variables(*, of_one: bool) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    if of_one:
        yield {
            "name": "instance",
            "label": "Cell",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": 'label_values(up{job="diego-cell"}, instance)', "refId": "cells"},
            "refresh": 2,
            "sort": 1,
        }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        width = WIDTH // len(row.panels)
        for index, panel in enumerate(row.panels):
            number += 1
            yield _panel(panel, number, {"x": index * width, "y": top + 1, "w": width, "h": HEIGHT})
        top += 1 + HEIGHT


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    is_graph = panel.kind == "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": not is_graph,
            "range": is_graph,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for index, (legend, expression) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": _style(panel) if is_graph else {}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if is_graph else {},
        "targets": targets,
    }


def _style(panel: Panel) -> dict[str, Any]:
    stacking = {"stacking": {"mode": "normal"}} if panel.stacked else {}
    return {"fillOpacity": 30 if panel.stacked else 5, "showPoints": "never", **stacking}
