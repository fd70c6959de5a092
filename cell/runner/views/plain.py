"""Plain view for pipes and files: only log lines with their source on standard output."""

from __future__ import annotations

import sys
from typing import IO

from cell.assembly.console import ConsoleSink
from cell.assembly.terminal import one_line, visible_lines
from cell.runner.events import ContainerChanged, EngineTold, LogWritten, ResultRead, RunEvent, Warned
from cell.runner.out import PatientOutput


class PlainView:
    """Writes log lines and a task's result to ``out`` as they come, and messages to ``told``."""

    def __init__(self, out: IO[str] | None = None, told: IO[str] | None = None) -> None:
        self._out = PatientOutput(out or sys.stdout)
        self._told = PatientOutput(told or sys.stderr)
        self._console = ConsoleSink(self._out)
        self._ports: tuple[tuple[int, int], ...] = ()

    def take(self, event: RunEvent) -> None:
        match event:
            case LogWritten():
                self._console.emit(event.line)
            case ResultRead():
                print(f"[RESULT] {visible_lines(event.text.rstrip())}", file=self._out, flush=True)
            case EngineTold():
                self._tell(event.text)
            case Warned():
                self._tell(f"warning: {event.text}")
            case ContainerChanged() if event.ports and event.ports != self._ports:
                self._ports = event.ports
                for host_port, container_port in event.ports:
                    self._tell(f"port {container_port} is at 127.0.0.1:{host_port}")
            case _:
                pass

    def close(self) -> None:
        """Nothing is buffered."""

    def _tell(self, text: str) -> None:
        print(f"cell run: {one_line(text)}", file=self._told, flush=True)
