"""For pipes and files: the log lines with their source, nothing else on standard output."""

from __future__ import annotations

import sys

from cell.console import ConsoleSink, source_label
from cell.runner.events import ContainerChanged, EngineTold, LogWritten, RunEvent, Warned


class PlainView:
    """Log lines to standard output as they come; what else is worth knowing to standard error."""

    def __init__(self) -> None:
        self._console = ConsoleSink(sys.stdout, label=source_label)
        self._ports: tuple[tuple[int, int], ...] = ()

    def take(self, event: RunEvent) -> None:
        match event:
            case LogWritten():
                self._console.emit(event.line)
            case EngineTold():
                print(f"cell run: {event.text}", file=sys.stderr, flush=True)
            case Warned():
                print(f"cell run: warning: {event.text}", file=sys.stderr, flush=True)
            case ContainerChanged() if event.ports and event.ports != self._ports:
                self._ports = event.ports
                for host_port, container_port in event.ports:
                    text = f"cell run: port {container_port} is at 127.0.0.1:{host_port}"
                    print(text, file=sys.stderr, flush=True)
            case _:
                pass

    def close(self) -> None:
        """Nothing is held back."""
