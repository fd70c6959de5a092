"""Repair of the links of attached containers.

The kernel reports an interface that is removed or goes down. Other losses, for example of a route, are
found by the check of every minute. A container that stays unreachable has to end: it would count as running
without answering requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import ParamSpec, TypeVar

from common.shielded import finish
from executor.errors import NetworkError
from executor.network.config import NetworkConfig
from executor.network.links import Links
from executor.network.linkwatch import LinkWatch
from executor.network.spaces import Spaces

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

UNREACHABLE_MOST_S = 150.0
"""How long a container may be unreachable: two checks of a minute and a margin."""

UNREACHABLE = "network link lost: it was removed and cannot be made again"


class LinkKeeper:
    """Makes and repairs links. All work on links runs in one thread, one job after the other."""

    def __init__(self, config: NetworkConfig, links: Links, spaces: Spaces) -> None:
        self._config = config
        self._links = links
        self._spaces = spaces
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="links")
        self._linked: dict[str, IPv4Address] = {}
        self._lost_since: dict[str, float] = {}
        self._news = asyncio.Event()
        self._watch = LinkWatch(config.port_prefix, self._news.set)

    def open(self) -> None:
        """Subscribe to the kernel's link events. Raises NetworkError."""
        self._watch.open()

    def close(self) -> None:
        """Closing twice is allowed."""
        self._watch.close()

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a job in the links thread. Cancellation waits for the end of the job, so no other job races
        with it.
        """
        future = asyncio.get_running_loop().run_in_executor(self._thread, lambda: job(*args, **kwargs))
        return await finish(future)

    async def connect(self, guid: str, address: IPv4Address) -> None:
        """Link a container whose namespace is held, and keep the link in repair. Raises NetworkError."""
        await self.run(self._links.connect, self._spaces.get(guid), address)
        self._linked[guid] = address

    def release(self, guid: str) -> None:
        """Stop repairing the link of ``guid``; unknown guids are allowed."""
        self._linked.pop(guid, None)
        self._lost_since.pop(guid, None)

    async def watch(self, on_unreachable: Callable[[str, str], None]) -> None:
        """Repair links as soon as they are lost, until cancelled. on_unreachable: see :meth:`repair`."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self.repair(on_unreachable)
            except NetworkError as error:
                logger.error("links-not-checked", extra={"data": {"error": str(error)}})

    async def repair(self, on_unreachable: Callable[[str, str], None]) -> list[str]:
        """Repair the links of unreachable containers, log each, and return the guids of the repaired ones.

        on_unreachable: called with guid and reason for a container that has been unreachable for too long.
        Raises NetworkError if the kernel's routes cannot be read.
        """
        wanted = {address: guid for guid, address in self._linked.items()}
        lost = await self.run(self._links.unreachable, wanted)
        return [
            guid for address in lost if await self._repair(guid := wanted[address], address, on_unreachable)
        ]

    async def _repair(
        self, guid: str, address: IPv4Address, on_unreachable: Callable[[str, str], None]
    ) -> bool:
        """An error of one container never affects the others."""
        if self._linked.get(guid) != address:  # detached meanwhile
            return False
        data = {"guid": guid, "address": str(address), "link": self._config.port_name(address)}
        try:
            await self.run(self._links.repair, self._spaces.get(guid), address)
        except Exception as error:
            trace = None if isinstance(error, NetworkError) else error
            logger.error(
                "container-cannot-be-reached", exc_info=trace, extra={"data": data | {"error": str(error)}}
            )
            now = asyncio.get_running_loop().time()
            if now - self._lost_since.setdefault(guid, now) >= UNREACHABLE_MOST_S:
                self.release(guid)
                on_unreachable(guid, UNREACHABLE)
            return False
        self._lost_since.pop(guid, None)
        logger.error("link-of-container-was-changed-by-others", extra={"data": data})
        return True
