"""Pool of pre-generated private keys.

An RSA key takes a sixth of a second of CPU time or more, so a burst of starts would wait for keys. The
pool keeps a few ready. They are generated in threads of the lowest priority, because apps come first,
unless a caller waits for a key; the library releases the GIL meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import ec, rsa

log = logging.getLogger(__name__)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

RSA_BITS = 3072
RSA_EXPONENT = 65537


def _rsa() -> PrivateKey:
    return rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=RSA_BITS)


def _ecdsa() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


_NORMAL, _LOWEST = 0, 19

GENERATORS: Mapping[str, Callable[[], PrivateKey]] = {"rsa": _rsa, "ecdsa": _ecdsa}
"""Key generators by configured key type."""


class KeyPool:
    """Keys of one type. :meth:`take` returns keys only while :meth:`run` runs."""

    def __init__(self, generate: Callable[[], PrivateKey], *, ready: int, threads: int) -> None:
        """ready: keys kept in stock, at least 1. threads: number of concurrent generators."""
        self._generate = generate
        self._stock: asyncio.Queue[PrivateKey] = asyncio.Queue(ready)
        self._threads = threads
        self._waiting = 0

    async def run(self) -> None:
        """Keep the stock full until cancelled."""
        makers = ThreadPoolExecutor(self._threads, thread_name_prefix="keys")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._threads):
                    group.create_task(self._fill(makers))
        finally:
            makers.shutdown(wait=False, cancel_futures=True)

    async def take(self) -> PrivateKey:
        """Take a key; each key is handed out once."""
        self._waiting += 1
        try:
            return await self._stock.get()
        finally:
            self._waiting -= 1

    async def _fill(self, makers: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._stock.put(await loop.run_in_executor(makers, self._make))

    def _make(self) -> PrivateKey:
        _set_priority(_NORMAL if self._waiting else _LOWEST)
        return self._generate()


def _set_priority(nice: int) -> None:
    """Set the priority of the current thread: on Linux priorities are per thread."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
    except OSError as error:
        log.debug("key-thread-keeps-its-priority", extra={"data": {"nice": nice, "error": str(error)}})
