"""Pools of threads, one for each kind of work that may take long, so that no kind keeps another waiting.

Other kinds keep their threads where they are used: calls of the engine (:mod:`executor.engine.client`),
copies (:mod:`executor.engine.copies`), walks through writable layers (:mod:`executor.watch.diskusage`),
log sinks (:mod:`executor.logs.writing`), packet rules and links (:mod:`executor.network.cell`), and keys
(:mod:`executor.identity.keys`). Work of a few milliseconds uses the loop's own pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """Threads that start with the first work and stay. name: the beginning of theirs."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` in a thread. Raises what it raises; a cancelled caller leaves it to the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))


ARCHIVES = Pool("archives", 8)
"""Unpacking and deleting downloads: minutes for a large one. More than the downloads at a time by default."""

READINGS = Pool("readings", 2)
"""Counters of containers: a few ms for each. A late reading lets an app stay beyond its limits."""
