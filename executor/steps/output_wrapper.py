"""Output wrapper: turns the output of a failed probe into its error text."""

from __future__ import annotations

import asyncio

from executor.logs.api import LogStreams, Output
from executor.steps.base import EmittableError, Step, StepCancelled, StepError

HEAD_BYTES = TAIL_BYTES = 32 * 1024
"""Bytes kept of the beginning and of the end of a probe's output."""

OMITTED = b"\n... (%d bytes omitted)\n"


class CapturedOutput(LogStreams):
    """Captures both output streams in order of arrival, instead of logging them.

    The middle of long output is omitted.
    """

    def __init__(self, streams: LogStreams) -> None:
        self._streams = streams
        self._head = b""
        self._tail = b""
        self._omitted = 0

    def source_name(self, source: str) -> str:
        return self._streams.source_name(source)

    def stream(self, source: str = "") -> Output:
        return Output(self._keep, self._keep, lambda: None)

    @property
    def text(self) -> str:
        """The captured output, stripped of surrounding whitespace."""
        omitted = OMITTED % self._omitted if self._omitted else b""
        return (self._head + omitted + self._tail).decode(errors="replace").strip()

    def _keep(self, data: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        tail = self._tail + data[room:]
        self._omitted += max(0, len(tail) - TAIL_BYTES)
        self._tail = tail[-TAIL_BYTES:]


class OutputWrapper:
    """Replaces the error of a failed child by its captured output, or by the error's text if there is no
    output.

    The error of a cancelled child becomes visible among combined errors, as a failure with a message.
    """

    def __init__(self, step: Step, captured: CapturedOutput) -> None:
        self._step = step
        self._captured = captured
        self.ready = step.ready

    async def run(self) -> None:
        try:
            await self._step.run()
        except StepError as error:
            raise self._wrapped(error) from error
        except asyncio.CancelledError:
            raise self._wrapped(StepCancelled()) from None

    def _wrapped(self, error: StepError) -> EmittableError:
        return EmittableError(self._captured.text or not_invoked(error))


def not_invoked(error: StepError) -> str:
    """The message of a failed probe without output."""
    return f"Failed to invoke process: {error}"
