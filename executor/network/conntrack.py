"""Connections the kernel remembers of a container that is gone.

An entry outlives its container (an established one for days) and would send packets for a port or an
address to whoever has it next.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import Conntrack, NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

from executor.errors import NetworkError


def forget_connections(address: IPv4Address, host_ports: Iterable[int]) -> int:
    """Delete what ``address`` began and what was sent to it through its host ports; returns how many. Blocks.

    Raises NetworkError.
    """
    own = str(address)
    try:
        with Conntrack() as table:
            entries = [*_matching(table, NFCTAttrTuple(saddr=own))]
            for port in host_ports:
                through = NFCTAttrTuple(proto=socket.IPPROTO_TCP, dport=port)
                entries += [one for one in _matching(table, through) if one.tuple_reply.saddr == own]
            for entry in entries:
                _delete(table, entry)
    except NetlinkError as error:
        raise NetworkError(f"connections of {address}: {os.strerror(error.code)}") from error
    return len(entries)


def _matching(table: Any, what: Any) -> Iterator[Any]:
    """The kernel looks through its table itself and hands over only these."""
    return iter(table.dump_entries(tuple_orig=what))


def _delete(table: Any, entry: Any) -> None:
    try:
        table.entry("del", tuple_orig=entry.tuple_orig)
    except NetlinkError as error:
        if error.code != errno.ENOENT:  # it ended by itself meanwhile
            raise
