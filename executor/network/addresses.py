"""Pool of container addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network

from executor.errors import NetworkError

_FIRST = 2
"""The first two addresses are the subnet's and the gateway's; the last one is the broadcast address."""


class NoFreeAddresses(NetworkError):
    """Every address of the subnet is in use."""


class AddressPool:
    """Addresses by guid. Released addresses are reused last."""

    def __init__(self, network: IPv4Network) -> None:
        self._network = network
        self._untouched = iter(range(_FIRST, network.num_addresses - 1))
        self._resting: dict[IPv4Address, None] = {}
        self._by_guid: dict[str, IPv4Address] = {}
        self._by_address: dict[IPv4Address, str] = {}

    def lease(self, guid: str) -> IPv4Address:
        """The current address of ``guid``, else a free one. Raises NoFreeAddresses."""
        if (address := self._by_guid.get(guid)) is not None:
            return address
        address = next(self._fresh(), None) or next(iter(self._resting), None)
        if address is None:
            raise NoFreeAddresses(f"no free address in {self._network} for {guid}")
        self._take(guid, address)
        return address

    @property
    def leased(self) -> Mapping[str, IPv4Address]:
        """Addresses by guid."""
        return self._by_guid

    def of(self, guid: str) -> IPv4Address | None:
        """The address of ``guid``, if it has one."""
        return self._by_guid.get(guid)

    def owner(self, address: IPv4Address) -> str | None:
        """The guid that has the address; None if the address is free."""
        return self._by_address.get(address)

    def claim(self, guid: str, address: IPv4Address) -> None:
        """Assign this address to ``guid``.

        Raises NetworkError if another guid has it, or it is outside the subnet.
        """
        if self._by_guid.get(guid) == address:
            return
        if address in self._by_address:
            raise NetworkError(f"address {address} wanted for {guid} belongs to {self._by_address[address]}")
        if address not in self._network:
            raise NetworkError(f"address {address} wanted for {guid} is not in {self._network}")
        self.release(guid)
        self._take(guid, address)

    def release(self, guid: str) -> IPv4Address | None:
        """Release the address of ``guid``; None for unknown guids."""
        address = self._by_guid.pop(guid, None)
        if address is not None:
            del self._by_address[address]
            self._resting[address] = None
        return address

    def _fresh(self) -> Iterator[IPv4Address]:
        for number in self._untouched:
            if (address := self._network[number]) not in self._by_address and address not in self._resting:
                yield address

    def _take(self, guid: str, address: IPv4Address) -> None:
        self._resting.pop(address, None)
        self._by_guid[guid] = address
        self._by_address[address] = guid
