"""Emit progress: reports the progress of its child to the app's owner."""

from __future__ import annotations

import asyncio

from executor.logs.api import Output
from executor.steps.base import Step, StepError
from executor.steps.replay import Recorded


class EmitProgress:
    """Writes the start message, then the success message or the failure prefix; ends like its child."""

    def __init__(
        self,
        step: Step,
        output: Output,
        record: Recorded,
        *,
        start_message: str,
        success_message: str,
        failure_message_prefix: str,
    ) -> None:
        self._step = step
        self._output = output
        self._record = record
        self._start_message = start_message
        self._success_message = success_message
        self._failure_message_prefix = failure_message_prefix
        self.ready = step.ready

    async def run(self) -> None:
        if self._record.once("start"):
            self._write(self._start_message)
        try:
            await self._step.run()
        except StepError as error:
            self._write_failure(f": {error}" if error.emittable else "")
            raise
        except asyncio.CancelledError:
            self._write_failure("")
            raise
        if self._record.once("end"):
            self._write(self._success_message)

    def _write(self, message: str) -> None:
        if message:
            self._output.stdout(f"{message}\n".encode(errors="replace"))

    def _write_failure(self, reason: str) -> None:
        if self._failure_message_prefix and self._record.once("end"):
            self._output.stderr(f"{self._failure_message_prefix}{reason}\n".encode(errors="replace"))
