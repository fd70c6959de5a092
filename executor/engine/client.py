"""The Docker SDK for asyncio: one API client, a bounded pool of threads.

Calls are short: long calls go through :mod:`executor.engine.streams`. Containers take turns, and each gets
at most half of the threads. A call that is cancelled before its turn is never made. A later cancellation
waits for the call, so that cleanup does not race with a request in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from common.shielded import finish
from executor.engine.faults import translate
from executor.places import FairPlaces

T = TypeVar("T")

CALL_TIMEOUT = 120
"""Seconds without an answer after which an engine call fails."""


class EngineClient:
    """Runs jobs against the engine in at most ``workers`` threads; connects on first use."""

    def __init__(self, docker_host: str | None, workers: int) -> None:
        self._docker_host = docker_host
        self._workers = workers
        self._api: APIClient | None = None
        self._connecting = asyncio.Lock()
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="engine")
        self._places = FairPlaces(workers, most=max(1, workers // 2))

    async def call(self, asked: str, job: Callable[[APIClient], T], *, owner: Hashable | None = None) -> T:
        """Run ``job`` in a thread. Raises EngineError with ``asked`` and the engine's text.

        owner: the container whose calls take turns with those of others; calls without one are not limited
        as a group. Cancellation takes effect when the job has ended.
        """
        try:
            async with self._places.of(object() if owner is None else owner):
                api = await self._connected()
                return await finish(asyncio.get_running_loop().run_in_executor(self._threads, job, api))
        except (DockerException, RequestException) as error:
            raise translate(error, asked) from error

    async def api_version(self) -> str:
        """The API version negotiated with the engine. Raises EngineUnavailable."""
        if self._api is not None:
            return str(self._api.api_version)
        return await self.call("connect", lambda api: str(api.api_version))

    def close(self) -> None:
        """End the threads and the connections; no call may be in progress."""
        self._threads.shutdown(wait=True)
        if self._api is not None:
            self._api.close()

    async def _connected(self) -> APIClient:
        async with self._connecting:
            if self._api is None:
                loop = asyncio.get_running_loop()
                self._api = await finish(
                    loop.run_in_executor(self._threads, self._connect), discard=APIClient.close
                )
            return self._api

    def _connect(self) -> APIClient:
        return APIClient(
            base_url=self._docker_host,
            version="auto",
            timeout=CALL_TIMEOUT,
            max_pool_size=self._workers,
        )
