"""Calls of the executor to the network, apart from ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import executor.upkeep
from bbs.models.workload import SecurityGroupRule
from executor.errors import NetworkError
from executor.model import AllocationRequest, EventKind, RunRequest
from tests.support.executor_doubles import allocation, run_request
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.support.executor_doubles import World

    Allocation = Callable[..., AllocationRequest]
    Request = Callable[..., RunRequest]

pytestmark = pytest.mark.unit


async def test_a_container_gets_its_address_before_it_exists_and_its_rules_with_its_link(
    world: World,
) -> None:
    rule = SecurityGroupRule(protocol="tcp", destinations=("192.0.2.1",), ports=(80,))
    async with world.running() as (cell, _):
        cell.allocate([allocation()])
        await cell.run(run_request(egress_rules=(rule,)))
        await world.group("ig")
        assert world.engine.containers["ig"].address == cell.container("ig").internal_ip == "10.255.0.7"
        assert world.network.egress == {"ig": (rule,)}
    assert world.network.closed  # with a container left


async def test_the_network_is_checked_again_and_again_whatever_comes_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor.upkeep, "NETWORK_CHECK_INTERVAL_S", 0.001)
    world.network.failures["verify"] = [NetworkError("nft is gone")]
    async with world.running(), asyncio.timeout(PATIENCE_S):
        await world.network.verified.wait()


async def test_the_owner_is_told_what_the_network_says_of_an_instance(world: World) -> None:
    async with world.running() as (cell, _):
        cell.allocate([allocation()])
        await cell.run(run_request())
        await world.group("ig")
        world.network.on_message("ig", "Connection limit 5 reached")
        world.network.on_message("gone", "Connection limit 5 reached")
    assert [text for text in world.sink.texts if "limit" in text] == ["Connection limit 5 reached"]


async def test_an_instance_that_stays_out_of_reach_ends_with_the_reason(world: World) -> None:
    """An instance without a link ran on, and was unreachable."""
    async with world.running() as (cell, events):
        cell.allocate([allocation()])
        await cell.run(run_request())
        await world.group("ig")
        world.network.on_unreachable("ig", "network link lost")
        world.network.on_unreachable("gone", "network link lost")
        complete = await events.until(EventKind.COMPLETE)
    assert complete.run_result.failed
    assert complete.run_result.failure_reason == "network link lost"
