"""Download: a fetch through the cache, unpacked in the container."""

from __future__ import annotations

import asyncio

from bbs.models.actions import DownloadAction
from bbs.models.text import format_size
from executor.cache.api import Checksum, DownloadError, Fetched
from executor.errors import EngineError
from executor.logs.api import Output
from executor.steps.base import EmittableError
from executor.steps.context import StepContext
from executor.steps.trace import Node

_ERROR_LIMIT = 1024
_TRUNCATED = b" (error truncated)"


class Download:
    """Takes a download slot, fetches through the cache and unpacks the tar as the action's user.

    An interrupt ends it at once; a copy in progress then ends as an orphan.
    """

    def __init__(
        self,
        action: DownloadAction,
        context: StepContext,
        node: Node,
        output: Output,
    ) -> None:
        self._action = action
        self._context = context
        self._tools = context.tools
        self._node = node
        self._output = output
        self.ready = asyncio.Event()

    async def run(self) -> None:
        self.ready.set()
        artifact = self._node.facts.artifact = self._action.artifact
        async with self._tools.slots.downloads.of(self._context.container.guid):
            if artifact:
                self._output.stdout(f"Downloading {artifact}...\n".encode(errors="replace"))
            size = await self._transfer()
        if artifact:
            amount = f" ({format_size(size)})" if size else ""
            self._output.stdout(f"Downloaded {artifact}{amount}\n".encode(errors="replace"))

    async def _transfer(self) -> int:
        """Fetch and unpack; returns the bytes received over the network."""
        action = self._action
        checksum = Checksum(algorithm=action.checksum_algorithm, value=action.checksum_value)
        artifact = f" {action.artifact}" if action.artifact else ""
        try:
            fetched = await self._tools.fetcher.fetch_file(
                action.from_, action.cache_key, checksum, progress=self._context.transfer_progress(self._node)
            )
        except DownloadError as error:
            raise self._failed(f"Downloading{artifact} failed") from error
        copying = asyncio.create_task(self._copy(fetched))
        try:
            await asyncio.wait({copying})
        except asyncio.CancelledError:
            copying.cancel()
            self._context.orphans.adopt(copying)
            raise
        try:
            copying.result()
        except EngineError as error:
            raise self._failed(f"Copying{artifact} into the container failed: {error}") from error
        self._node.facts.transferred_bytes = fetched.size
        return fetched.size

    async def _copy(self, fetched: Fetched) -> None:
        action = self._action
        try:
            await self._tools.engine.stream_in(
                self._context.engine_container, action.to, action.user or "root", str(fetched.path)
            )
        finally:
            fetched.release()

    def _failed(self, text: str) -> EmittableError:
        self._output.stderr(truncate_error(f"{text}\n"))
        return EmittableError(text)


def truncate_error(message: str) -> bytes:
    """A message for stderr, truncated to 1024 bytes including the truncation mark."""
    encoded = message.encode(errors="replace")
    if len(encoded) <= _ERROR_LIMIT:
        return encoded
    return encoded[: _ERROR_LIMIT - len(_TRUNCATED)] + _TRUNCATED
