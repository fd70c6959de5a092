"""Validation of egress rules."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address

from bbs.models.text import whole_number
from bbs.models.validation.fields import invalid_field
from bbs.models.workload import SecurityGroupRule

_INVALID_IP = "Invalid IP"
_MAPPED = bytes(10) + b"\xff\xff"


def validate_security_group_rule(rule: SecurityGroupRule) -> list[str]:
    """Errors of one rule."""
    errors: list[str] = []
    match rule.protocol:
        case "tcp" | "udp":
            errors += _ports(rule)
            if rule.icmp_info is not None:
                errors.append(invalid_field("icmp_info"))
        case "icmp" | "icmpv6":
            errors += _no_ports(rule)
            if rule.icmp_info is None:
                errors.append(invalid_field(f"{rule.protocol}_info"))
        case "all":
            errors += _no_ports(rule)
            if rule.icmp_info is not None:
                errors.append(invalid_field("icmp_info"))
        case _:
            errors.append(invalid_field("protocol"))
    if wrong := _destinations(rule.destinations):
        errors.append(invalid_field(f"destinations [ {', '.join(wrong)} ]"))
    return errors


def _no_ports(rule: SecurityGroupRule) -> list[str]:
    errors = []
    if rule.port_range is not None:
        errors.append(invalid_field("port_range"))
    if rule.ports:
        errors.append(invalid_field("ports"))
    return errors


def _ports(rule: SecurityGroupRule) -> list[str]:
    if rule.port_range is None and not rule.ports:
        return ["Missing required field: ports or port_range"]
    if rule.port_range is not None and rule.ports:
        return ["Invalid: ports and port_range provided"]
    if (ports := rule.port_range) is not None and not 1 <= ports.start <= ports.end:
        return [invalid_field("port_range")]
    return [invalid_field("ports")] if 0 in rule.ports else []


def _destinations(destinations: tuple[str, ...]) -> list[str]:
    if not destinations:
        return ["Must have at least 1 destination"]
    return [
        text
        for entry in destinations
        for destination in entry.split(",")
        for text in _destination(destination)
    ]


def _destination(text: str) -> list[str]:
    # The first of the two separators determines the format.
    separator = next((character for character in text if character in "-/"), "")
    if not separator:
        return [] if _address(text) else [_INVALID_IP]
    head, _, tail = text.partition(separator)
    if separator == "/":
        return [] if _is_cidr(head, tail) else [f"invalid CIDR address: {text}"]
    first, last = _address(head), _address(tail)
    if first is None or last is None:
        return [_INVALID_IP]
    return _reversed_range(first, last)


def _reversed_range(first: bytes, last: bytes) -> list[str]:
    """One error per byte of ``first`` above that of ``last``, up to the first smaller byte (as in Go)."""
    errors = []
    for low, high in zip(first, last, strict=True):
        if low < high:
            break
        if low > high:
            errors.append(_INVALID_IP)
    return errors


def _address(text: str) -> bytes | None:
    """The 16 bytes of an address (IPv4 mapped to IPv6); None for an invalid one."""
    try:
        return _MAPPED + IPv4Address(text).packed
    except AddressValueError:
        pass
    try:
        return None if "%" in text else IPv6Address(text).packed
    except AddressValueError:
        return None


def _is_cidr(address: str, prefix: str) -> bool:
    packed = _address(address)
    return packed is not None and whole_number(prefix, 128 if ":" in address else 32) is not None
