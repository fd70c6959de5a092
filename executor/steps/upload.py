"""Upload: posts a file of the container to a URL."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

from bbs.models.actions import UploadAction
from common.gotext import format_size
from common.shielded import finish
from executor.cache.api import UploadError
from executor.cache.transport import InvalidURL, check_url
from executor.errors import ContainerGone, EngineError, EngineUnavailable, NoSuchFile, ProcessStartError
from executor.logs.api import Output
from executor.privatedir import make_private
from executor.steps.base import EmittableError, StepError, interrupted, outlast
from executor.steps.context import StepContext
from executor.steps.trace import Node


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """Takes an upload slot, copies the file out of the container and posts it.

    The copy is limited to the container's disk limit, or to the free disk space if there is no limit. An
    interrupt takes effect only when the post begins.
    """

    action: UploadAction
    context: StepContext
    node: Node
    output: Output
    ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        self.ready.set()
        artifact = self.node.facts.artifact = self.action.artifact
        with ExitStack() as cleanup:
            preparing = asyncio.create_task(self._prepare(cleanup))
            await outlast(preparing)
            path = preparing.result()
            if interrupted():
                raise asyncio.CancelledError
            try:
                progress = self.context.transfer_progress(self.node)
                size = await self.context.tools.uploader.upload(path, self.action.to, progress=progress)
            except UploadError as error:
                self._write_failure("Failed to upload payload")
                raise StepError(str(error)) from error
        self.node.facts.transferred_bytes = size
        if artifact:
            self.output.stdout(f"Uploaded {artifact} ({format_size(size)})\n".encode(errors="replace"))

    async def _prepare(self, cleanup: ExitStack) -> Path:
        """Prepare the post: take the slot and copy the file. ``cleanup`` releases both."""
        slots = self.context.tools.slots.uploads.of(self.context.container.guid)
        await slots.acquire()
        cleanup.callback(slots.release)
        if self.action.artifact:
            self.output.stdout(f"Uploading {self.action.artifact}...\n".encode(errors="replace"))
        try:
            check_url(self.action.to)
        except InvalidURL as error:
            self._write_failure("Failed to parse URL")
            raise StepError(str(error)) from error
        try:
            work_dir = self.context.tools.settings.work_dir
            await asyncio.to_thread(make_private, work_dir)
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(dir=work_dir))
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise self._failed("Failed to create temp dir") from error
        path = Path(folder, "payload")
        await self._copy_out(path, self.context.engine_container.disk_bytes or free)
        return path

    async def _copy_out(self, path: Path, limit: int) -> None:
        action = self.action
        try:
            file = await finish(asyncio.to_thread(path.open, "xb"), discard=BufferedWriter.close)
        except OSError as error:
            raise self._failed("Failed to create temp file") from error
        try:
            with file:
                await self.context.tools.engine.copy_out(
                    self.context.engine_container, action.from_, action.user or "root", file, limit
                )
        except NoSuchFile as error:
            raise self._failed("Failed to find first item in tar stream") from error
        except (ContainerGone, EngineUnavailable, ProcessStartError) as error:
            raise self._failed("Failed to establish stream from container") from error
        except (EngineError, OSError) as error:
            raise self._failed("Failed to copy stream contents into temp file") from error

    def _write_failure(self, text: str) -> str:
        if self.action.artifact:
            text += f" for {self.action.artifact}"
            self.output.stderr(f"{text}\n".encode(errors="replace"))
        return text

    def _failed(self, text: str) -> EmittableError:
        return EmittableError(self._write_failure(text))
