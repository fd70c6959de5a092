"""Selection of the daemon for an instance, from values of the BBS (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bbs.models.actual_lrp import ActualLRP, PortMapping, PreferredAddress
from bbs.models.common import DynamicValue
from bbs.models.desired_lrp import DesiredLRP

ROUTE = "diego-ssh"


class NoTarget(Exception):
    """The instance cannot be reached; the text is for the log."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses of the daemon and credentials for it.

    plain: None if the port is not mapped. tls: with the instance guid as the expected name.
    """

    plain: Address | None
    tls: Address | None
    instance_guid: str
    host_fingerprint: str
    user: str
    password: str
    private_key: str
    source_id: str
    instance_id: str
    tags: Mapping[str, str]


def choose_target(
    lrp: ActualLRP,
    desired: DesiredLRP,
    *,
    connect_to_instance_address: bool,
    tls_enabled: bool,
) -> Target:
    """Raises :class:`NoTarget` if the process has no SSH route."""
    route = _route(desired)
    mapping = next(
        (
            mapping
            for mapping in lrp.actual_lrp_net_info.ports
            if mapping.container_port == route.get("container_port")
        ),
        None,
    )
    plain, tls = _addresses(lrp, mapping, connect_to_instance_address) if mapping else (None, None)
    instance_id = str(lrp.actual_lrp_key.index)
    tags = {"source_id": desired.log_guid, "instance_id": instance_id} | _tags(desired, lrp)
    return Target(
        plain=plain,
        tls=tls if tls_enabled else None,
        instance_guid=lrp.actual_lrp_instance_key.instance_guid,
        host_fingerprint=_text(route, "host_fingerprint"),
        user=_text(route, "user"),
        password=_text(route, "password"),
        private_key=_text(route, "private_key"),
        source_id=tags["source_id"],
        instance_id=tags["instance_id"],
        tags=tags,
    )


def single_instance(lrps: Sequence[ActualLRP], process_guid: str, index: int) -> ActualLRP:
    """The single instance. Raises :class:`NoTarget` if there is none or more than one."""
    if len(lrps) != 1:
        number = "no" if not lrps else "multiple"
        raise NoTarget(f"{number} matching ActualLRP for ProcessGuid: {process_guid}, Index: {index}")
    return lrps[0]


def _route(desired: DesiredLRP) -> Mapping[str, Any]:
    text = (desired.routes or {}).get(ROUTE)
    if text is None:
        raise NoTarget("SSH routing info not found")
    try:
        route = json.loads(text)
    except ValueError as error:
        raise NoTarget(f"SSH routing info: {error}") from error
    if not isinstance(route, dict):
        raise NoTarget("SSH routing info: not an object")
    return route


def _text(route: Mapping[str, Any], name: str) -> str:
    value = route.get(name)
    return value if isinstance(value, str) else ""


def _addresses(
    lrp: ActualLRP, mapping: PortMapping, connect_to_instance_address: bool
) -> tuple[Address | None, Address | None]:
    """Plain and TLS address; port 0 means no address."""
    net = lrp.actual_lrp_net_info
    direct = net.preferred_address is PreferredAddress.INSTANCE or (
        net.preferred_address is PreferredAddress.UNKNOWN and connect_to_instance_address
    )
    host_tls = _address(net.address, mapping.host_tls_proxy_port)
    if not direct:
        return _address(net.address, mapping.host_port), host_tls
    instance_tls = _address(net.instance_address, mapping.container_tls_proxy_port)
    return _address(net.instance_address, mapping.container_port), instance_tls or host_tls


def _address(host: str, port: int) -> Address | None:
    return Address(host, port) if port else None


def _tags(desired: DesiredLRP, lrp: ActualLRP) -> dict[str, str]:
    dynamic = {
        DynamicValue.INDEX: str(lrp.actual_lrp_key.index),
        DynamicValue.INSTANCE_GUID: lrp.actual_lrp_instance_key.instance_guid,
    }
    return {name: dynamic.get(tag.dynamic, tag.static) for name, tag in desired.metric_tags.items()}
