"""Routing table: from the BBS's records and events to the endpoints of a host and path. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPKey,
    ActualLRPNetInfo,
    PreferredAddress,
    Presence,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.events import (
    ActualLRPCrashedEvent,
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
    ActualLRPInstanceRemovedEvent,
    DesiredLRPChangedEvent,
    DesiredLRPCreatedEvent,
    DesiredLRPRemovedEvent,
    Event,
)
from cell.routing.routes import Route, candidates, is_below, routes_of

RUNNING: Final = "RUNNING"

logger = logging.getLogger(__name__)

Place: TypeAlias = tuple[int, Presence]
"""Index and kind of a row: an index may have an ordinary, an evacuating and a suspect one."""
Touched: TypeAlias = set[tuple[str, Place | None]]
"""Rows that events changed, by process GUID and place; a place of None is the DesiredLRP."""
Members: TypeAlias = dict[tuple[str, int], None]
"""Process GUIDs and container ports that serve a host and path, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port of a running instance. address: ``host:port``. suspect: its cell does not answer the BBS."""

    address: str
    app_guid: str
    process_guid: str
    instance_guid: str
    index: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    """What serves a host and path. name: ``host/path`` of the route. endpoints: none if nothing runs."""

    name: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class _Process:
    """The part of a DesiredLRP that matters here."""

    app_guid: str
    instances: int
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class _Instance:
    """A running, routable instance. addresses: container port -> ``host:port``."""

    guid: str
    addresses: Mapping[int, str]


class RouteTable:
    """Follows lists and events of a BBS; answers which endpoints serve a request."""

    def __init__(self) -> None:
        self._processes: dict[str, _Process] = {}
        self._instances: dict[str, dict[Place, _Instance]] = {}
        self._hosts: dict[str, dict[str, Members]] = {}
        self._recordings: list[Touched] = []

    # -- requests ----------------------------------------------------------------------------------------

    def find(self, host: str, path: str) -> Pool | None:
        """The pool of the most specific route, None without a route. host: lower case, without a port."""
        for name in candidates(host):
            paths = self._hosts.get(name, {})
            best = max((each for each in paths if is_below(path, each)), key=len, default=None)
            if best is not None:
                found = (each for guid, port in paths[best] for each in self._endpoints(guid, port))
                return Pool(name + best, tuple(found))
        return None

    def _endpoints(self, process_guid: str, port: int) -> Iterator[Endpoint]:
        process = self._processes[process_guid]
        for (index, presence), instance in self._instances.get(process_guid, {}).items():
            address = instance.addresses.get(port)
            # An index that is not desired any more is about to be stopped.
            if address is not None and index < process.instances:
                yield Endpoint(
                    address=address,
                    app_guid=process.app_guid,
                    process_guid=process_guid,
                    instance_guid=instance.guid,
                    index=index,
                    suspect=presence is Presence.SUSPECT,
                )

    # -- events ------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Apply an event of the instance stream."""
        match event:
            case DesiredLRPCreatedEvent(desired_lrp=DesiredLRP() as desired):
                self._desire(desired)
            case DesiredLRPChangedEvent(after=DesiredLRP() as desired):
                self._desire(desired)
            case DesiredLRPRemovedEvent(desired_lrp=DesiredLRP() as desired):
                self._touch(desired.process_guid, None)
                self._forget(desired.process_guid)
            case ActualLRPInstanceCreatedEvent(actual_lrp=ActualLRP() as row):
                self._put_row(row)
            case ActualLRPInstanceChangedEvent(before=before, after=ActualLRPInfo() as after):
                key, instance_key = event.actual_lrp_key, event.actual_lrp_instance_key
                if before is not None and before.presence is not after.presence:
                    self._drop(key, before.presence)
                self._put(key, instance_key, after)
            case ActualLRPInstanceRemovedEvent(actual_lrp=ActualLRP() as row):
                self._drop(row.actual_lrp_key, row.presence)
            case ActualLRPCrashedEvent():
                self._drop_instance(event.actual_lrp_key, event.actual_lrp_instance_key)

    @contextmanager
    def recording(self) -> Iterator[Touched]:
        """Record which rows events change while a list is fetched: the events are newer than the list."""
        touched: Touched = set()
        self._recordings.append(touched)
        try:
            yield touched
        finally:
            self._recordings.remove(touched)

    def replace(self, desired: Iterable[DesiredLRP], rows: Iterable[ActualLRP], touched: Touched) -> None:
        """Replace everything by a list, except for rows that events changed meanwhile."""
        untouched = {each.process_guid: each for each in desired if (each.process_guid, None) not in touched}
        for process_guid in self._processes.keys() - untouched.keys():
            if (process_guid, None) not in touched:
                self._forget(process_guid)
        for each in untouched.values():
            self._desire(each)
        for process_guid, places in list(self._instances.items()):
            for place in [each for each in places if (process_guid, each) not in touched]:
                self._remove(process_guid, place)
        for row in rows:
            key = row.actual_lrp_key
            if (key.process_guid, (key.index, row.presence)) not in touched:
                self._put_row(row)

    # ----------------------------------------------------------------------------------------------------

    def _touch(self, process_guid: str, place: Place | None) -> None:
        for each in self._recordings:
            each.add((process_guid, place))

    def _desire(self, desired: DesiredLRP) -> None:
        guid = desired.process_guid
        self._touch(guid, None)
        parsed = routes_of(desired)
        process = _Process(desired.log_guid or guid, desired.instances, parsed.routes)
        if self._processes.get(guid) == process:
            return
        self._forget(guid)
        for problem in parsed.problems:
            logger.info("route-not-usable", extra={"data": {"process-guid": guid, "reason": problem}})
        self._processes[guid] = process
        for route in process.routes:
            self._hosts.setdefault(route.host, {}).setdefault(route.path, {})[guid, route.port] = None

    def _forget(self, process_guid: str) -> None:
        process = self._processes.pop(process_guid, None)
        for route in process.routes if process else ():
            paths = self._hosts[route.host]
            paths[route.path].pop((process_guid, route.port), None)
            if not paths[route.path]:
                del paths[route.path]
            if not paths:
                del self._hosts[route.host]

    def _put_row(self, row: ActualLRP) -> None:
        self._put(row.actual_lrp_key, row.actual_lrp_instance_key, row)

    def _put(
        self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey, row: ActualLRP | ActualLRPInfo
    ) -> None:
        """Keep the row of an instance that takes requests, drop any other."""
        place = (key.index, row.presence)
        self._touch(key.process_guid, place)
        addresses = _addresses(row.actual_lrp_net_info)
        if row.state == RUNNING and row.routable is not False and addresses:
            instance = _Instance(instance_key.instance_guid, addresses)
            self._instances.setdefault(key.process_guid, {})[place] = instance
        else:
            self._remove(key.process_guid, place)

    def _drop(self, key: ActualLRPKey, presence: Presence) -> None:
        self._touch(key.process_guid, (key.index, presence))
        self._remove(key.process_guid, (key.index, presence))

    def _drop_instance(self, key: ActualLRPKey, instance_key: ActualLRPInstanceKey) -> None:
        places = self._instances.get(key.process_guid, {})
        for place in [each for each, one in places.items() if one.guid == instance_key.instance_guid]:
            self._touch(key.process_guid, place)
            self._remove(key.process_guid, place)

    def _remove(self, process_guid: str, place: Place) -> None:
        places = self._instances.get(process_guid)
        if places is not None:
            places.pop(place, None)
            if not places:
                del self._instances[process_guid]


def _addresses(net: ActualLRPNetInfo) -> dict[int, str]:
    """Container port -> ``host:port``, of the container's own address or of the host."""
    if net.preferred_address is PreferredAddress.INSTANCE and net.instance_address:
        return {each.container_port: _joined(net.instance_address, each.container_port) for each in net.ports}
    return {
        each.container_port: _joined(net.address, each.host_port)
        for each in net.ports
        if each.host_port and net.address
    }


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
