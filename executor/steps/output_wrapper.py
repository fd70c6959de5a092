"""Output wrapper: what a probe prints becomes the text of its error."""

from __future__ import annotations

import asyncio

from executor.logs.api import LogStreams, Output
from executor.steps.base import EmittableError, Step, StepCancelled, StepError


class CapturedOutput(LogStreams):
    """Output that is kept instead of logged, both streams in the order they come."""

    def __init__(self, streams: LogStreams) -> None:
        self._streams = streams
        self._data = bytearray()

    def source_name(self, source: str) -> str:
        return self._streams.source_name(source)

    def stream(self, source: str = "") -> Output:
        return Output(self._data.extend, self._data.extend, lambda: None)

    @property
    def text(self) -> str:
        """All of it, without the white space around it."""
        return self._data.decode(errors="replace").strip()


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
