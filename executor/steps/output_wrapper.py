"""Output wrapper: what a probe prints becomes the text of its error."""

from __future__ import annotations

import asyncio

from executor.logs.api import LogStreams, Output
from executor.steps.base import EmittableError, Step, StepCancelled, StepError

HEAD_BYTES = TAIL_BYTES = 32 * 1024
"""Of the output of one probe, what is kept of its beginning and of its end."""

OMITTED = b"\n... (%d bytes omitted)\n"


class CapturedOutput(LogStreams):
    """Output that is kept instead of logged, both streams in the order they come.

    The middle of a long one is left out.
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
        """What was kept, without the white space around it."""
        omitted = OMITTED % self._omitted if self._omitted else b""
        return (self._head + omitted + self._tail).decode(errors="replace").strip()

    def _keep(self, data: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        tail = self._tail + data[room:]
        self._omitted += max(0, len(tail) - TAIL_BYTES)
        self._tail = tail[-TAIL_BYTES:]


class OutputWrapper:
    """A failing child's captured output is the message; without any, the failure itself is.

    A cancelled child is no longer hidden among combined errors: that too is a failure with a message.
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
    """The message of a probe that said nothing."""
    return f"Failed to invoke process: {error}"
