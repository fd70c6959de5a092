"""The routing table: from records and events to endpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bbs.embedded.decisions.events import changed, crashed
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPNetInfo,
    PortMapping,
    PreferredAddress,
    Presence,
)
from bbs.models.events import (
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
)
from cell.routing.table import RouteTable
from tests.unit.cell.routing.conftest import Runs, desired, row

pytestmark = pytest.mark.unit


def created(actual: ActualLRP) -> ActualLRPInstanceCreatedEvent:
    return ActualLRPInstanceCreatedEvent(actual_lrp=actual)


def addresses(table: RouteTable, host: str, path: str = "/") -> list[str] | None:
    pool = table.find(host, path)
    return None if pool is None else [each.address for each in pool.endpoints]


def test_a_running_instance_serves_its_routes(table: RouteTable) -> None:
    table.apply(DesiredLRPCreatedEvent(desired_lrp=desired("p", "shop.localhost", "other.localhost/a")))
    assert addresses(table, "shop.localhost") == []
    table.apply(created(row("p")))
    pool = table.find("shop.localhost", "/x")
    assert pool is not None
    (endpoint,) = pool.endpoints
    assert (endpoint.address, endpoint.app_guid, endpoint.process_guid) == ("10.0.0.1:61001", "p-app", "p")
    assert (endpoint.instance_guid, endpoint.index, endpoint.suspect) == ("p-0", 0, False)
    assert addresses(table, "other.localhost", "/a/b") == ["10.0.0.1:61001"]
    assert addresses(table, "other.localhost", "/") is None
    assert addresses(table, "unknown.localhost") is None


def test_the_most_specific_route_wins(table: RouteTable, runs: Runs) -> None:
    runs("root", "shop.localhost", 1)
    runs("cart", "shop.localhost/cart", 2)
    runs("wild", "*.localhost", 3)
    assert addresses(table, "shop.localhost", "/") == ["127.0.0.1:1"]
    assert addresses(table, "shop.localhost", "/cart/1") == ["127.0.0.1:2"]
    assert addresses(table, "else.localhost", "/cart/1") == ["127.0.0.1:3"]
    assert addresses(table, "deep.else.localhost") == ["127.0.0.1:3"]


def test_two_versions_of_an_app_share_a_route(table: RouteTable, runs: Runs) -> None:
    runs("old", "shop.localhost", 1)
    runs("new", "shop.localhost", 2)
    assert addresses(table, "shop.localhost") == ["127.0.0.1:1", "127.0.0.1:2"]
    table.apply(DesiredLRPRemovedEvent(desired_lrp=desired("old")))
    assert addresses(table, "shop.localhost") == ["127.0.0.1:2"], "before its instance has stopped"


def test_an_index_that_is_not_desired_gets_nothing_before_it_stops(table: RouteTable, runs: Runs) -> None:
    runs("p", "shop.localhost", 1, 2, 3)
    after = desired("p", "shop.localhost", instances=1)
    table.apply(DesiredLRPChangedEvent(before=desired("p", "shop.localhost"), after=after))
    assert addresses(table, "shop.localhost") == ["127.0.0.1:1"]


def test_changed_routes_replace_the_earlier_ones(table: RouteTable, runs: Runs) -> None:
    runs("p", "shop.localhost", 1)
    table.apply(DesiredLRPChangedEvent(after=desired("p", "store.localhost")))
    assert addresses(table, "shop.localhost") is None
    assert addresses(table, "store.localhost") == ["127.0.0.1:1"]


@pytest.mark.parametrize(
    "other",
    [{"state": "CLAIMED"}, {"routable": False}, {"host_port": 0}],
    ids=["claimed", "unready", "no port"],
)
def test_an_instance_takes_requests_while_it_runs_and_is_ready(
    table: RouteTable, runs: Runs, other: dict
) -> None:  # type: ignore[type-arg] # keyword arguments
    runs("p", "shop.localhost", 7)
    before, after = row("p", host_port=7), row("p", **{"host_port": 7, **other})
    table.apply(changed(before, after))
    assert addresses(table, "shop.localhost") == []
    table.apply(changed(after, before))
    assert addresses(table, "shop.localhost") == ["10.0.0.1:7"]


def test_an_instance_of_an_old_cell_that_says_nothing_about_readiness_is_ready(table: RouteTable) -> None:
    table.apply(DesiredLRPCreatedEvent(desired_lrp=desired("p", "shop.localhost")))
    table.apply(created(row("p", routable=None)))
    assert addresses(table, "shop.localhost") == ["10.0.0.1:61001"]


def test_a_crash_and_a_removal_end_the_endpoint(table: RouteTable, runs: Runs) -> None:
    runs("p", "shop.localhost", 1, 2)
    table.apply(crashed(row("p", 0), row("p", 0, state="CRASHED")))
    assert addresses(table, "shop.localhost") == ["127.0.0.1:2"]
    table.apply(ActualLRPInstanceRemovedEvent(actual_lrp=row("p", 1)))
    assert addresses(table, "shop.localhost") == []


def test_an_evacuating_instance_serves_until_its_record_goes(table: RouteTable, runs: Runs) -> None:
    """The ordinary record loses the instance, which the evacuating record has then."""
    runs("p", "shop.localhost", 1)
    leaving = row("p", host_port=1, presence=Presence.EVACUATING)
    table.apply(created(leaving))
    waiting = replace(row("p", state="UNCLAIMED"), actual_lrp_instance_key=ActualLRPInstanceKey())
    table.apply(changed(row("p"), waiting))
    assert addresses(table, "shop.localhost") == ["10.0.0.1:1"]
    table.apply(created(row("p", host_port=2, instance="second")))
    table.apply(ActualLRPInstanceRemovedEvent(actual_lrp=leaving))
    assert addresses(table, "shop.localhost") == ["10.0.0.1:2"]


def test_a_suspect_instance_is_known_as_such(table: RouteTable, runs: Runs) -> None:
    runs("p", "shop.localhost", 1)
    table.apply(changed(row("p"), row("p", presence=Presence.SUSPECT)))
    pool = table.find("shop.localhost", "/")
    assert pool is not None
    assert [each.suspect for each in pool.endpoints] == [True]
    table.apply(ActualLRPInstanceRemovedEvent(actual_lrp=row("p", presence=Presence.SUSPECT)))
    assert addresses(table, "shop.localhost") == []


def test_an_instance_may_prefer_its_own_address(table: RouteTable) -> None:
    table.apply(DesiredLRPCreatedEvent(desired_lrp=desired("p", "a.localhost")))
    net = ActualLRPNetInfo(
        address="10.0.0.1",
        instance_address="fd00::7",
        preferred_address=PreferredAddress.INSTANCE,
        ports=(PortMapping(container_port=8080),),
    )
    table.apply(created(replace(row("p"), actual_lrp_net_info=net)))
    assert addresses(table, "a.localhost") == ["[fd00::7]:8080"]


def test_a_list_replaces_everything(table: RouteTable, runs: Runs) -> None:
    runs("gone", "gone.localhost", 1)
    runs("kept", "kept.localhost", 1, 2)
    with table.recording() as touched:
        table.replace(
            [desired("kept", "kept.localhost"), desired("new", "new.localhost")],
            [row("kept", 1, host_port=2), row("new", host_port=3)],
            touched,
        )
    assert addresses(table, "gone.localhost") is None
    assert addresses(table, "kept.localhost") == ["10.0.0.1:2"]
    assert addresses(table, "new.localhost") == ["10.0.0.1:3"]


def test_events_that_come_while_a_list_is_fetched_are_newer_than_it(table: RouteTable, runs: Runs) -> None:
    runs("a", "a.localhost", 1, 2)
    listed = [desired("a", "a.localhost"), desired("b", "b.localhost")], [row("a", 0), row("a", 1), row("b")]
    with table.recording() as touched:
        table.apply(ActualLRPInstanceRemovedEvent(actual_lrp=row("a", 0)))
        table.apply(DesiredLRPRemovedEvent(desired_lrp=desired("b")))
        runs("c", "c.localhost", 5)
        table.replace(*listed, touched)
    assert addresses(table, "a.localhost") == ["10.0.0.1:61001"]
    assert addresses(table, "b.localhost") is None
    assert addresses(table, "c.localhost") == ["127.0.0.1:5"]
