"""Parsing of packet table listings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executor.network.actualtable import ActualTable, Count, parse
from executor.network.rules import KERNELS_SETS

pytestmark = pytest.mark.unit


def listing(*entries: dict[str, Any], indent: int | None = None) -> str:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *entries]}, indent=indent)


def a_set(name: str, *elements: Any) -> dict[str, Any]:
    return {"set": {"family": "inet", "name": name, "type": "ipv4_addr", "elem": list(elements)}}


@pytest.mark.parametrize("indent", [None, 2])
def test_all_entries_are_read_however_they_are_written(indent: int | None) -> None:
    """A listing of many rules was decoded at once, and kept the event loop waiting for seconds."""
    counted = {"elem": {"val": "10.0.0.2", "counter": {"packets": 3, "bytes": 9}, "comment": "g1"}}
    found = parse(listing(a_set("refused", counted), a_set("egress_1_other", "192.0.2.1"), indent=indent))
    assert found.refused == {"10.0.0.2": Count(3, "g1")}
    assert found.sets == {"egress_1_other": {"192.0.2.1": Count()}}


def test_an_empty_table() -> None:
    assert parse(listing()) == ActualTable()
    assert parse('{"nftables": []}') == ActualTable()


def test_sets_that_the_kernel_fills_are_not_compared() -> None:
    """What a container does must not make the table anew."""
    rate = {"elem": {"val": "10.0.0.2", "timeout": 600, "limit": {"rate": 100, "per": "second"}}}
    count = {"elem": {"val": "10.0.0.2", "ct count": {"val": 5, "inv": True}}}
    assert len(KERNELS_SETS) == 6
    assert parse(listing(*(a_set(name, rate, count) for name in KERNELS_SETS))) == ActualTable()
