"""Records of running apps, as a BBS lists them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    Presence,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import ActualLRPInstanceCreatedEvent, DesiredLRPCreatedEvent
from cell.routing.table import RouteTable

PORT = 8080


def desired(guid: str, *hostnames: str, instances: int = 9, routes: Any = None) -> DesiredLRP:
    """An LRP with routes to its port 8080."""
    if routes is None:
        routes = [{"hostnames": list(hostnames), "port": PORT}]
    return DesiredLRP(
        process_guid=guid,
        log_guid=f"{guid}-app",
        instances=instances,
        routes={"cf-router": json.dumps(routes).encode()},
    )


def row(
    guid: str,
    index: int = 0,
    *,
    host_port: int = 61001,
    address: str = "10.0.0.1",
    instance: str = "",
    presence: Presence = Presence.ORDINARY,
    state: str = "RUNNING",
    routable: bool | None = True,
) -> ActualLRP:
    """The row of an instance."""
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid=guid, index=index),
        actual_lrp_instance_key=ActualLRPInstanceKey(
            instance_guid=instance or f"{guid}-{index}", cell_id="cell-1"
        ),
        actual_lrp_net_info=ActualLRPNetInfo(
            address=address, ports=(PortMapping(container_port=PORT, host_port=host_port),)
        ),
        state=state,
        presence=presence,
        routable=routable,
    )


@pytest.fixture
def table() -> RouteTable:
    return RouteTable()


Runs = Callable[..., None]


@pytest.fixture
def runs(table: RouteTable) -> Runs:
    """Let an app run: its host, and the ports of its instances."""

    def run(guid: str, host: str, *host_ports: int, address: str = "127.0.0.1") -> None:
        table.apply(DesiredLRPCreatedEvent(desired_lrp=desired(guid, host)))
        for index, port in enumerate(host_ports):
            running = row(guid, index, host_port=port, address=address)
            table.apply(ActualLRPInstanceCreatedEvent(actual_lrp=running))

    return run
