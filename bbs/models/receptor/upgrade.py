"""Conversion of keys and structures of 2014 and 2015 to the current ones, before the codec reads them.

Only names and structure change here, so that the codec's errors still have the right path. Values are
converted later, on the model (``read``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bbs.models.invalid import InvalidDocument, describe, mismatch

PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "ICMP": "icmp", "ALL": "all"}
"""Spelling of protocols until January 2015."""
MAX_PORT = 65535


class Document:
    """The members of a JSON object, under their lower-case or newer names.

    It records renamed members, so that errors use the names of the author.
    """

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            mismatch("an object", value)
        self.members: dict[str, Any] = {key.lower(): item for key, item in value.items()}
        self._places = {f"$.{key.lower()}": f"$.{key}" for key in value if key != key.lower()}

    def get(self, key: str) -> Any:
        return self.members.get(key)

    def place(self, key: str) -> str:
        """Path of a member, with the author's name."""
        return self._places.get(f"$.{key}", f"$.{key}")

    def rename(self, old: str, new: str) -> None:
        """Rename a member to its newer name; an existing member with that name takes precedence."""
        value = self.members.pop(old, None)
        if value is not None and self.get(new) is None:
            self.put(new, value, instead_of=old)

    def put(self, key: str, value: object, *, instead_of: str, within: str = "") -> None:
        """Set a member converted from ``instead_of``; the old value is now at ``within`` in the new one."""
        self.members[key] = value
        self._places[f"$.{key}{within}"] = self.place(instead_of)

    @contextmanager
    def reading(self) -> Iterator[dict[str, Any]]:
        """The members, for the codec; errors inside the context get the author's paths."""
        try:
            yield self.members
        except InvalidDocument as error:
            for place, original in self._places.items():
                rest = error.path.removeprefix(place)
                if rest != error.path and (not rest or rest[0] in ".["):
                    raise type(error)(original + rest, error.expected, error.got) from None
            raise


def upgrade_workload(document: Document) -> None:
    """Convert the common parts of DesiredLRPs and Tasks."""
    document.rename("root_fs", "rootfs")
    stack = document.members.pop("stack", None)
    if stack is not None and document.get("rootfs") is None:
        if not isinstance(stack, str):
            raise InvalidDocument("$.stack", "the name of a stack", describe(stack))
        document.put("rootfs", f"preloaded:{stack}", instead_of="stack")
    actions = document.members.pop("actions", None)
    if actions is not None and document.get("action") is None:
        document.put(
            "action", {"serial": {"actions": actions}}, instead_of="actions", within=".serial.actions"
        )
    document.rename("security_group_rules", "egress_rules")
    rules = document.get("egress_rules")
    if isinstance(rules, list):
        document.members["egress_rules"] = [
            _rule(rule, f"{document.place('egress_rules')}[{index}]") for index, rule in enumerate(rules)
        ]


def upgrade_desired_lrp(document: Document) -> None:
    """Convert a DesiredLRP; its start timeout stays in seconds."""
    upgrade_workload(document)
    # The current key of the old field has the wrong unit in its name: it is in seconds too.
    document.rename("start_timeout", "deprecated_timeout_ns")
    ports = document.get("ports")
    if isinstance(ports, list):
        document.members["ports"] = ports = [
            port.get("container_port") if isinstance(port, dict) else port for port in ports
        ]
    routes = document.get("routes")
    if isinstance(routes, list):
        if not isinstance(ports, list) or not ports:
            raise InvalidDocument(
                document.place("routes"), "an object, or host names beside a port to route to", "a list"
            )
        document.members["routes"] = {"cf-router": [{"hostnames": routes, "port": ports[0]}]}


def upgrade_cell_keys(document: Document) -> None:
    """Rename the keys for the location of an instance or task."""
    document.rename("executor_id", "cell_id")
    document.rename("host", "address")


def check_port(port: int, path: str) -> None:
    """Raises InvalidDocument at path for a port of more than 16 bits."""
    if port > MAX_PORT:
        raise InvalidDocument(path, f"a port up to {MAX_PORT}", f"the number {port}")


def _rule(rule: object, path: str) -> object:
    if not isinstance(rule, dict):
        return rule
    members = {key.lower(): value for key, value in rule.items()}
    protocol = members.get("protocol")
    if isinstance(protocol, str):
        members["protocol"] = PROTOCOLS.get(protocol, protocol)
    destination = members.pop("destination", None)
    if destination is not None and members.get("destinations") is None:
        members["destinations"] = [_destination(destination, f"{path}.destination")]
    return members


def _destination(destination: object, path: str) -> str:
    match destination:
        case str():
            return destination
        case {"network_address": str(address), "prefix_length": int(prefix)}:
            return f"{address}/{prefix}"
        case {"network_address": str(address)}:
            return address
    raise InvalidDocument(
        path, "an address, or an object with network_address and prefix_length", describe(destination)
    )
