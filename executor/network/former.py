"""Removal of networks that previous processes of the cell made with other settings."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict

from executor.errors import NetworkError
from executor.network.claim import Claim, holdings
from executor.network.config import NO_IPV6, NetworkConfig
from executor.network.firewall import EngineFirewall
from executor.network.footprint import Footprint
from executor.network.links import Links
from executor.network.nft import Nft
from executor.network.rules import remove_table

logger = logging.getLogger(__name__)

RunBlocking = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs work on links in their thread."""


class FormerNetworks:
    """The networks of previous processes that differ from the present one.

    ``left`` has those that could not be removed. A network that another cell uses meanwhile is not touched.
    """

    def __init__(self, footprints: Iterable[Footprint], present: NetworkConfig) -> None:
        """Claims the networks. present: the settings of this process, which has claimed its own network."""
        own = Footprint.of(present)
        self._own = own
        self._claims = ExitStack()
        self._links_removed: list[Footprint] = []
        self.left: Sequence[Footprint] = []
        for each in dict.fromkeys(footprints):
            if each != own:
                claim = Claim(each.config(), besides=holdings(present))
                try:
                    claim.take()
                except NetworkError as error:
                    logger.info("former-network-is-in-use", extra=_about(each, error))
                else:
                    self._claims.callback(claim.release)
                    self.left = [*self.left, each]

    async def remove_links(self, run: RunBlocking) -> None:
        """Remove interfaces, routes and rules in the engine's firewall. Errors are logged."""
        for each in self.left:
            config = each.config()
            try:
                if (each.name, each.subnet) != (self._own.name, self._own.subnet):
                    await run(Links(config).remove_all)
                elif each.subnet_ipv6 != self._own.subnet_ipv6:
                    await run(Links(config).remove_ipv6_routes)  # the links are still in use
                if each.name != self._own.name:
                    await EngineFirewall(config.port_prefix, ipv6=each.subnet_ipv6 != NO_IPV6).close()
            except NetworkError as error:
                logger.error("former-network-not-removed", extra=_about(each, error))
            else:
                self._links_removed.append(each)

    async def remove_tables(self, nft: Nft) -> None:
        """Remove packet tables, once the present one is in force, and release the claims.

        Errors are logged.
        """
        with self._claims:
            for each in self._links_removed:
                try:
                    if each.table != self._own.table:
                        await nft.apply(remove_table(each.table))
                except NetworkError as error:
                    logger.error("former-network-not-removed", extra=_about(each, error))
                else:
                    self.left = [one for one in self.left if one != each]
                    logger.warning("former-network-removed", extra=_about(each))

    def close(self) -> None:
        """Release the claims; also if a start fails half-way."""
        self._claims.close()


def _about(footprint: Footprint, error: NetworkError | None = None) -> dict[str, object]:
    return {"data": {**asdict(footprint), **({"error": str(error)} if error else {})}}
