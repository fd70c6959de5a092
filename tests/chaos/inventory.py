"""Inventory of what a cell has on its machine, to find leftovers of a kill."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import docker
import psutil

from executor.engine.createrequest import LABEL_CELL
from tests.support.local_reps import LocalRep

_KEPT = ("journal", "pulled-images.json")
"""Parts of the state folder that stay, whatever happens."""


@dataclass(frozen=True)
class Inventory:
    """Names of what there is, of each kind."""

    containers: frozenset[str]
    elements: frozenset[str]
    links: frozenset[str]
    mounts: frozenset[str]
    files: frozenset[str]

    def beyond(self, other: Inventory) -> dict[str, list[str]]:
        """What is here and not there, by kind."""
        pairs = {each.name: getattr(self, each.name) - getattr(other, each.name) for each in fields(self)}
        return {name: sorted(more) for name, more in pairs.items() if more}


def take(rep: LocalRep, nft_table: str, state: Path) -> Inventory:
    """The inventory of a cell now."""
    return Inventory(
        containers=frozenset(_containers(rep.cell_id)),
        elements=frozenset(_elements(nft_table)),
        links=frozenset(psutil.net_if_addrs()),
        mounts=frozenset(_mounts()),
        files=frozenset(_files(state)),
    )


@dataclass(frozen=True)
class Footprint:
    """What the process of the agent holds."""

    descriptors: int
    threads: int
    rss: int
    journal_bytes: int


def footprint(pid: int, state: Path) -> Footprint:
    process = psutil.Process(pid)
    journal = sum(path.stat().st_size for path in (state / "journal").rglob("*") if path.is_file())
    return Footprint(process.num_fds(), process.num_threads(), process.memory_info().rss, journal)


def _containers(cell_id: str) -> Iterator[str]:
    client = docker.APIClient(version="auto")
    try:
        for found in client.containers(all=True, filters={"label": f"{LABEL_CELL}={cell_id}"}):
            yield found["Names"][0]
    finally:
        client.close()


def _elements(table: str) -> Iterator[str]:
    """The chains, rules and elements of the packet table, without counters and handles."""
    listed = subprocess.run(
        ["nft", "-j", "list", "table", "inet", table], capture_output=True, check=True, text=True
    )
    for entry in json.loads(listed.stdout)["nftables"]:
        for kind, value in entry.items():
            if kind in ("chain", "rule"):
                yield f"{kind} {value['chain'] if kind == 'rule' else value['name']}"
            for element in value.get("elem", ()) if kind in ("set", "map") else ():
                yield f"{kind} {value['name']} {_plain(element)}"


def _plain(element: Any) -> str:
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    return json.dumps(element)


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _files(state: Path) -> Iterator[str]:
    for folder, _, names in os.walk(state):
        relative = Path(folder).relative_to(state)
        if relative.parts[:1] and relative.parts[0] in _KEPT:
            continue
        for name in names:
            if name not in _KEPT:
                yield str(relative / name)
