"""The body of an instance update: new routes or tags for a running container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bbs.models.actual_lrp import ActualLRPInternalRoute
from bbs.models.codec import from_json
from bbs.models.meta import Int32
from executor.model import UpdateRequest
from rep.bodies import first_value


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceUpdate:
    """The update as the BBS sends it; None leaves a part unchanged."""

    instance_guid: str = ""
    process_guid: str = ""
    index: Int32 = 0
    domain: str = ""
    internal_routes: tuple[ActualLRPInternalRoute, ...] | None = None
    metric_tags: Mapping[str, str] | None = None


def read_update(body: bytes, instance_guid: str) -> UpdateRequest:
    """The update for the container in the path. Raises InvalidDocument."""
    update: InstanceUpdate = from_json(InstanceUpdate, first_value(body))
    routes = update.internal_routes
    return UpdateRequest(
        guid=instance_guid,
        internal_routes=None if routes is None else tuple(route.hostname for route in routes),
        metric_tags=update.metric_tags,
    )
