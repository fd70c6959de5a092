"""Thread pools, one per kind of long work, so that no kind delays another.

Other kinds have their pools in their modules: engine calls (:mod:`executor.engine.client`), copies
(:mod:`executor.engine.copies`), walks of writable layers (:mod:`executor.watch.diskusage`), log sinks
(:mod:`executor.logs.writing`), packet rules and links (:mod:`executor.network.cell`), and keys
(:mod:`executor.identity.keys`). Work of a few milliseconds uses the default pool of the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


SWITCH_INTERVAL_S = 0.0005
"""Time after which a busy thread of Python yields to a waiting one; Python's default is 5 ms.

An engine call waits for the interpreter some twenty times. Beside a loop that is busy with log lines, each
wait took the whole interval: a Task took 4 s beside twelve floods, and takes 0.7 s with this value.
"""


def yield_often() -> None:
    """Make busy threads of this process yield after :data:`SWITCH_INTERVAL_S`."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)


class Pool:
    """Thread pool; its threads start on demand and stay. name: prefix of the thread names."""

    def __init__(self, name: str, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a thread and raise its errors.

        After a cancellation of the caller the thread continues.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: work(*args, **kwargs))


ARCHIVES = Pool("archives", 8)
"""Unpacking and deletion of downloads: minutes for a large one.

More threads than concurrent downloads by default.
"""

READINGS = Pool("readings", 2)
"""Counters of containers: a few ms each. A late reading lets an app exceed its limits for longer."""
