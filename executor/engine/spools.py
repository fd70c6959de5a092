"""The folder of a cell's spools: ``<guid>/<process>.<time>.<stream>``, each with a file of its labels."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterator
from pathlib import Path

from common.metrics.instruments import Instruments
from executor.engine.spool import Spool
from executor.engine.spoolbudget import SpoolBudget
from executor.engine.spoolfile import LABELS, SpoolFile, remove_empty
from executor.privatedir import make_private
from executor.telemetry.families import SPOOL_BYTES, SPOOL_LIMIT, SPOOL_STREAMS

logger = logging.getLogger(__name__)

STREAM_BYTES = 16 << 20
"""Default bound of a stream."""

CELL_BYTES = 512 << 20
"""Default bound of all streams of a cell."""


class Spools:
    """Creates the spools of a cell, and finds those of previous agent processes."""

    def __init__(
        self, folder: Path, *, stream_bytes: int = STREAM_BYTES, cell_bytes: int = CELL_BYTES
    ) -> None:
        self._folder = folder
        self._cell_bytes = cell_bytes
        self._budget = SpoolBudget(stream_bytes, cell_bytes)

    def report(self, instruments: Instruments) -> None:
        """Set the gauges of the spools."""
        instruments.set(SPOOL_BYTES, self._budget.held)
        instruments.set(SPOOL_LIMIT, self._cell_bytes)
        instruments.set(SPOOL_STREAMS, len(self._budget.open))

    def create(self, guid: str, name: str, stream: str, labels: bytes) -> Spool:
        """A new spool. labels: describe the stream to a later agent process. Raises OSError."""
        folder = self._folder / guid
        make_private(self._folder)
        make_private(folder)
        path = folder / f"{name}.{time.time_ns():016x}.{stream}"
        return self._opened(SpoolFile.create(path, labels))

    def resume(self, guid: str, name: str, stream: str) -> Spool | None:
        """The newest spool of a process of a previous agent process; None without one. Raises OSError."""
        found = sorted(self._folder.glob(f"{guid}/{name}.*.{stream}"))
        unused = [path for path in found if not self._is_used(path)]
        return self._recovered(unused[-1]) if unused else None

    def leftovers(self, spared: Container[str] = ()) -> Iterator[tuple[Spool, bytes]]:
        """The spools that no process uses, with their labels. spared: guids of containers."""
        for path in sorted(self._folder.glob(f"*/*{LABELS}")):
            stream = path.with_suffix("")
            if path.parent.name in spared or self._is_used(stream):
                continue
            try:
                labels, spool = path.read_bytes(), self._recovered(stream)
            except FileNotFoundError:
                spool = None
            except OSError as error:
                data = {"file": path.name, "error": str(error)}
                logger.warning("output-spool.unreadable", extra={"data": data})
                continue
            if spool is None:
                path.unlink(missing_ok=True)
                remove_empty(path.parent)
            else:
                yield spool, labels

    def _is_used(self, path: Path) -> bool:
        return any(spool.name == _name_of(path) for spool in self._budget.open)

    def _recovered(self, path: Path) -> Spool | None:
        file = SpoolFile.open(path)
        spool = self._opened(file)
        try:
            spool.recover()
        except (OSError, ValueError) as error:
            self._budget.forget(spool)
            file.close()
            data = {"file": path.name, "error": str(error)}
            logger.warning("output-spool.unreadable", extra={"data": data})
            path.unlink(missing_ok=True)
            return None
        return spool

    def _opened(self, file: SpoolFile) -> Spool:
        spool = Spool(self._budget, file, _name_of(file.path))
        self._budget.open.add(spool)
        return spool


def _name_of(path: Path) -> str:
    """The name of a spool, which every line of its stream carries."""
    return f"{path.parent.name}/{path.name}"
