"""Inventory of what a cell has on its machine, to find leftovers of a kill."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psutil
from docker import APIClient

from executor.engine.createrequest import LABEL_CELL, LABEL_GUID

ENGINE = "unix:///var/run/docker.sock"
_KEPT = ("journal", "pulled-images.json", "rep.json", "rep.log")
"""Parts of the cell's folder that stay, whatever happens."""

Inventory = Mapping[str, frozenset[str]]
"""Names of what there is, by kind."""


def beyond(inventory: Inventory, other: Inventory) -> dict[str, list[str]]:
    """What is in one inventory and not in another, by kind."""
    return {
        kind: sorted(more)
        for kind, names in inventory.items()
        if (more := names - other.get(kind, frozenset()))
    }


def merged(inventories: Iterable[Inventory]) -> Inventory:
    """What there is in any of them."""
    found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for inventory in inventories:
        for kind, names in inventory.items():
            found[kind] |= names
    return found


@dataclass(frozen=True)
class Shares:
    """How many things of each kind there are without instances of one kind, and how many belong to each.

    An instance that ends must take its things with it, so the number of instances says how many there are.
    """

    others: Mapping[str, int]
    each: Mapping[str, int]

    @classmethod
    def of(cls, without: Inventory, with_some: Inventory, instances: int) -> Shares:
        """From two inventories: without the instances, and with some of them. Raises AssertionError."""
        others = {kind: len(names) for kind, names in without.items()}
        more = {kind: len(names) - others[kind] for kind, names in with_some.items()}
        uneven = {kind: number for kind, number in more.items() if number % instances}
        assert not uneven, f"{instances} equal instances have {uneven} things together"
        return cls(others, {kind: number // instances for kind, number in more.items()})

    def leaks(self, inventory: Inventory, instances: int) -> dict[str, int]:
        """How many things there are more, or less, than so many instances have; by kind."""
        surplus = {
            kind: len(names) - self.others[kind] - instances * self.each[kind]
            for kind, names in inventory.items()
        }
        return {kind: number for kind, number in surplus.items() if number}


@dataclass(frozen=True)
class Footprint:
    """What the process of the agent holds."""

    descriptors: int
    threads: int
    rss: int
    journal_bytes: int


@dataclass(frozen=True)
class Machine:
    """What one cell has on this machine. folder: with its configuration, state, cache and temporary files."""

    cell_id: str
    nft_table: str
    folder: Path
    docker_host: str = ENGINE

    def take(self) -> Inventory:
        """The inventory of the cell now."""
        return {
            "containers": frozenset(self.init_pids()),
            "links": frozenset(psutil.net_if_addrs()),
            "mounts": frozenset(_mounts()),
            **self._packet_table(),
            **self._files(),
        }

    def footprint(self, pid: int) -> Footprint:
        """Of the agent's process."""
        process = psutil.Process(pid)
        folder = self.folder / "state" / "journal"
        journal = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Footprint(process.num_fds(), process.num_threads(), process.memory_info().rss, journal)

    def init_pids(self) -> dict[str, int]:
        """The first process of each container, by guid."""
        pids = {}
        with self._client() as client:
            for each in self._containers(client):
                with suppress(docker.errors.NotFound):
                    pids[each["Labels"][LABEL_GUID]] = client.inspect_container(each["Id"])["State"]["Pid"]
        return pids

    def clear(self) -> None:
        """Remove the containers of the cell, whatever state a failure left."""
        with self._client() as client:
            for each in self._containers(client):
                client.remove_container(each["Id"], force=True, v=True)

    def _client(self) -> closing[APIClient]:
        return closing(docker.APIClient(self.docker_host, version="auto"))

    def _containers(self, client: APIClient) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.containers(
            all=True, filters={"label": f"{LABEL_CELL}={self.cell_id}"}
        )
        return found

    def _packet_table(self) -> dict[str, frozenset[str]]:
        """Chains, rules and elements, without counters and handles; mapped ports are a kind of their own."""
        listed = subprocess.run(
            ["nft", "-j", "list", "table", "inet", self.nft_table], capture_output=True, check=True, text=True
        )
        found: dict[str, set[str]] = {"ports": set(), "elements": set(), "rules": set()}
        rules: Counter[str] = Counter()
        for entry in json.loads(listed.stdout)["nftables"]:
            for kind, value in entry.items():
                if kind == "chain":
                    found["rules"].add(value["name"])
                elif kind == "rule":
                    rules[value["chain"]] += 1
                    found["rules"].add(f"{value['chain']}, rule {rules[value['chain']]}")
                for element in value.get("elem", ()) if kind in ("set", "map") else ():
                    name = value["name"]
                    found["ports" if name.startswith("ports") else "elements"].add(
                        f"{name} {_plain(element)}"
                    )
        return self._named(found)

    def _named(self, found: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
        """With the name of the cell, because other cells have things of the same names."""
        return {kind: frozenset(f"{self.cell_id}: {name}" for name in names) for kind, names in found.items()}

    def _files(self) -> dict[str, frozenset[str]]:
        """FIFOs and regular files; spools are a kind of their own."""
        found: dict[str, set[str]] = defaultdict(set, {"fifos": set(), "spools": set(), "files": set()})
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.folder)
                if not set(relative.parts) & set(_KEPT):
                    with suppress(FileNotFoundError):
                        found[_kind(path)].add(str(relative))
        return self._named(found)


def _kind(path: Path) -> str:
    """Raises FileNotFoundError."""
    if stat.S_ISFIFO(path.lstat().st_mode):
        return "fifos"
    return "spools" if "spool" in str(path) else "files"


def _plain(element: Any) -> str:
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    return json.dumps(element)


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4]
