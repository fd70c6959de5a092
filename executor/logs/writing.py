"""Blocking writes in threads: to a full disk, a network file system, a pipe without a reader.

Each sink has its own thread, so that a blocked one delays neither other sinks nor other work in threads.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import NamedTuple

ITEMS_AT_ONCE = 1024
"""Maximum buffers per system call (IOV_MAX)."""

_locks: defaultdict[tuple[int, int], threading.Lock] = defaultdict(threading.Lock)


class CannotWrite(Exception):
    """A descriptor refuses data: its reader is gone, or the disk is full. left: number of unwritten bytes."""

    def __init__(self, error: OSError, left: int) -> None:
        super().__init__(str(error))
        self.left = left


class _Job(NamedTuple):
    run: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class SinkThread:
    """Runs jobs in order. Process exit does not wait for a blocked job.

    The thread starts with the first job.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, job: Callable[[], None]) -> None:
        """Run a job and wait for it. Raises its errors; cancellation leaves the job running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"log sink {self._name}", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put(_Job(job, loop, done))
        await done

    def close(self, last: Callable[[], None]) -> None:
        """Run ``last`` after all jobs, and end the thread. Does not wait."""
        if self._thread is None:
            last()
        else:
            self._thread = None
            self._jobs.put(last)

    def _work(self) -> None:
        while isinstance(job := self._jobs.get(), _Job):
            error: Exception | None = None
            try:
                job.run()
            except Exception as raised:  # noqa: BLE001 - it is the caller's
                error = raised
            try:
                job.loop.call_soon_threadsafe(_settle, job.done, error)
            except RuntimeError:  # the loop was closed meanwhile
                continue
        job()


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def write_whole(descriptor: int, items: Sequence[bytes]) -> None:
    """Write all items without interleaving with other writers of this process. Blocks without limit.

    Standard output and standard error are often one pipe, so the lock is per file. Raises CannotWrite.
    """
    status = os.fstat(descriptor)
    with _locks[status.st_dev, status.st_ino]:
        left: deque[bytes | memoryview] = deque(items)
        while left:
            try:
                written = os.writev(descriptor, list(islice(left, ITEMS_AT_ONCE)))
            except BlockingIOError:  # another process made the shared descriptor non-blocking
                _until_writable(descriptor)
            except OSError as error:
                raise CannotWrite(error, sum(map(len, left))) from error
            else:
                _drop(left, written)


def _drop(items: deque[bytes | memoryview], size: int) -> None:
    """Remove ``size`` bytes from the front."""
    while items and size >= len(items[0]):
        size -= len(items.popleft())
    if size:
        items[0] = memoryview(items[0])[size:]


def _until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
