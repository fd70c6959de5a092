"""The cell's lines in an app's log.

They bypass the rate limit and are sent even if the container has no log guid. Before the run request arrives
the log configuration is unknown, so they carry an empty one.
"""

from __future__ import annotations

import logging

from executor.clock import Clock
from executor.logs.api import LogSink, Stream
from executor.logs.streamer import LogStreamer
from executor.model import Container, LogConfig

log = logging.getLogger(__name__)


class AppLog:
    """Writes log lines for the containers of one cell."""

    def __init__(self, sink: LogSink, cell_id: str, clock: Clock, origin: str = "rep") -> None:
        """origin: value of the tag ``origin``."""
        self._sink = sink
        self._cell_id = cell_id
        self._clock = clock
        self._origin = origin

    def write(self, config: LogConfig, text: str, stream: Stream = Stream.OUT, *, source: str = "") -> None:
        """Write one line; ``source`` replaces the log source of the container.

        Errors of the sink are logged.
        """
        try:
            LogStreamer(self._sink, config, clock=self._clock, origin=self._origin).direct(
                text, stream, source
            )
        except Exception:  # a line that is lost must not end a container
            log.exception("app-log-failed", extra={"data": {"log-guid": config.guid}})

    def warn(self, container: Container, text: str) -> None:
        """Write an error line about a container."""
        self.write(container.run_info.log_config, text, Stream.ERR)

    def creating(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} creating container for instance {guid}")

    def created(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} successfully created container for instance {guid}")

    def creation_failed(self, config: LogConfig, guid: str, error: str) -> None:
        text = f"Cell {self._cell_id} failed to create container for instance {guid}: {error}"
        self.write(config, text, Stream.ERR)

    def stopping(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} stopping instance {guid}")

    def destroying(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} destroying container for instance {guid}")

    def destroyed(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} successfully destroyed container for instance {guid}")

    def destruction_failed(self, config: LogConfig, guid: str) -> None:
        self.write(config, f"Cell {self._cell_id} failed to destroy container for instance {guid}")
