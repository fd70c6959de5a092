"""Download: a fetch through the cache, unpacked in the container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from bbs.models.actions import DownloadAction
from common.gotext import format_size
from executor.cache.api import Checksum, DownloadError, Fetched
from executor.errors import EngineError
from executor.logs.api import Output
from executor.steps.base import EmittableError
from executor.steps.context import StepContext
from executor.steps.trace import Node

_ERROR_LIMIT = 1024
_TRUNCATED = b" (error truncated)"


@dataclass(frozen=True, slots=True, eq=False)
class Download:
    """Takes a download slot, fetches through the cache and unpacks the tar as the action's user.

    An interrupt ends it at once; a copy in progress then becomes a lingering task.
    """

    action: DownloadAction
    context: StepContext
    node: Node
    output: Output
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        self.ready.set()
        artifact = self.node.facts.artifact = self.action.artifact
        async with self.context.tools.slots.downloads.of(self.context.container.guid):
            if artifact:
                self.output.stdout(f"Downloading {artifact}...\n".encode(errors="replace"))
            size = await self._transfer()
        if artifact:
            amount = f" ({format_size(size)})" if size else ""
            self.output.stdout(f"Downloaded {artifact}{amount}\n".encode(errors="replace"))

    async def _transfer(self) -> int:
        """Fetch and unpack; returns the bytes received over the network."""
        action = self.action
        checksum = Checksum(algorithm=action.checksum_algorithm, value=action.checksum_value)
        artifact = f" {action.artifact}" if action.artifact else ""
        try:
            fetched = await self.context.tools.fetcher.fetch_file(
                action.from_, action.cache_key, checksum, progress=self.context.transfer_progress(self.node)
            )
        except DownloadError as error:
            raise self._failed(f"Downloading{artifact} failed") from error
        copying = asyncio.create_task(self._copy(fetched))
        try:
            await asyncio.wait({copying})
        except asyncio.CancelledError:
            copying.cancel()
            self.context.lingering.adopt(copying)
            raise
        try:
            copying.result()
        except EngineError as error:
            raise self._failed(f"Copying{artifact} into the container failed: {error}") from error
        self.node.facts.transferred_bytes = fetched.size
        return fetched.size

    async def _copy(self, fetched: Fetched) -> None:
        action = self.action
        try:
            await self.context.tools.engine.stream_in(
                self.context.engine_container, action.to, action.user or "root", str(fetched.path)
            )
        finally:
            fetched.release()

    def _failed(self, text: str) -> EmittableError:
        self.output.stderr(truncate_error(f"{text}\n"))
        return EmittableError(text)


def truncate_error(message: str) -> bytes:
    """A message for stderr, truncated to 1024 bytes including the truncation mark."""
    encoded = message.encode(errors="replace")
    if len(encoded) <= _ERROR_LIMIT:
        return encoded
    return encoded[: _ERROR_LIMIT - len(_TRUNCATED)] + _TRUNCATED
