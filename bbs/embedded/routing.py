"""What a desired LRP says about each of its instances: internal routes and metric tags."""

from __future__ import annotations

from bbs.models.actual_lrp import ActualLRP, ActualLRPInternalRoute
from bbs.models.codec import parse
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.invalid import InvalidDocument

INTERNAL_ROUTER = "internal-router"


def internal_routes(lrp: DesiredLRP) -> tuple[ActualLRPInternalRoute, ...]:
    """Host names on the internal network; none when the router's data is not what it should be."""
    text = (lrp.routes or {}).get(INTERNAL_ROUTER)
    if text is None:
        return ()
    try:
        entries = parse(text)
    except InvalidDocument:
        return ()
    if not isinstance(entries, list):
        return ()
    return tuple(
        ActualLRPInternalRoute(hostname=entry["hostname"])
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("hostname"), str)
    )


def metric_tags(lrp: DesiredLRP, row: ActualLRP) -> dict[str, str]:
    """The tags as they are for one instance."""
    return {name: _resolve(value, row) for name, value in lrp.metric_tags.items()}


def _resolve(value: MetricTagValue, row: ActualLRP) -> str:
    match value.dynamic:
        case DynamicValue.INDEX:
            return str(row.actual_lrp_key.index)
        case DynamicValue.INSTANCE_GUID:
            return row.actual_lrp_instance_key.instance_guid
        case _:
            return value.static
