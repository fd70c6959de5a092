"""JSON lines: one object per event, for programs."""

from __future__ import annotations

import json
import sys
from typing import IO

from cell.runner.encoding import to_json
from cell.runner.events import RunEvent, RunStarted
from cell.runner.out import PatientOutput


class JsonLinesView:
    """Writes events to ``out`` as they come."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = PatientOutput(out or sys.stdout)
        self._guid = ""

    def take(self, event: RunEvent) -> None:
        if isinstance(event, RunStarted):
            self._guid = event.guid
        self._out.write(json.dumps(to_json(event, self._guid)) + "\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing is buffered."""
