"""Views that print every event as it comes: log lines as text for pipes, or JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import IO

from cell.assembly.console import ConsoleSink
from cell.assembly.terminal import one_line, visible_lines
from cell.runner.encoding import to_json
from cell.runner.events import (
    ContainerChanged,
    EngineProgress,
    LogWritten,
    ResultRead,
    RunEvent,
    RunStarted,
    Warned,
)
from cell.runner.output import PipeSafeOutput


class PlainView:
    """Writes log lines and a task's result to ``out`` as they come, and messages to ``errors``."""

    def __init__(self, out: IO[str] | None = None, errors: IO[str] | None = None) -> None:
        self._out = PipeSafeOutput(out or sys.stdout)
        self._errors = PipeSafeOutput(errors or sys.stderr)
        self._console = ConsoleSink(self._out)
        self._ports: tuple[tuple[int, int], ...] = ()

    def take(self, event: RunEvent) -> None:
        match event:
            case LogWritten():
                self._console.emit(event.line)
            case ResultRead():
                print(f"[RESULT] {visible_lines(event.text.rstrip())}", file=self._out, flush=True)
            case EngineProgress():
                self._print_message(event.text)
            case Warned():
                self._print_message(f"warning: {event.text}")
            case ContainerChanged() if event.ports and event.ports != self._ports:
                self._ports = event.ports
                for host_port, container_port in event.ports:
                    self._print_message(f"port {container_port} is at 127.0.0.1:{host_port}")
            case _:
                pass

    def close(self) -> None:
        """Nothing is buffered."""

    def _print_message(self, text: str) -> None:
        print(f"cell run: {one_line(text)}", file=self._errors, flush=True)


class JsonLinesView:
    """Writes events to ``out`` as they come."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = PipeSafeOutput(out or sys.stdout)
        self._guid = ""

    def take(self, event: RunEvent) -> None:
        if isinstance(event, RunStarted):
            self._guid = event.guid
        self._out.write(json.dumps(to_json(event, self._guid)) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing is buffered."""
