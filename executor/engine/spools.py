"""The folder of a cell's spools: ``<guid>/<process>.<time>.<stream>``, each with a file of its labels."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Container, Iterator
from pathlib import Path

from common.metrics.instruments import Instruments
from executor.engine.spool import LABELS, Spool, SpoolBudget, remove_empty
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
        path.with_suffix(path.suffix + LABELS).write_bytes(labels)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        spool = self._opened(path, fd)
        spool.save()
        return spool

    def resume(self, guid: str, name: str, stream: str) -> Spool | None:
        """The newest spool of a process of a previous agent process; None without one. Raises OSError."""
        used = {spool.path for spool in self._budget.open}
        found = sorted(set(self._folder.glob(f"{guid}/{name}.*.{stream}")) - used)
        return self._recovered(found[-1]) if found else None

    def leftovers(self, spared: Container[str] = ()) -> Iterator[tuple[Spool, bytes]]:
        """The spools that no process uses, with their labels. spared: guids of containers."""
        for path in sorted(self._folder.glob(f"*/*{LABELS}")):
            stream = path.with_suffix("")
            if path.parent.name in spared or any(spool.path == stream for spool in self._budget.open):
                continue
            try:
                spool, labels = self._recovered(stream), path.read_bytes()
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

    def _recovered(self, path: Path) -> Spool | None:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        spool = self._opened(path, fd)
        try:
            spool.recover()
        except (OSError, ValueError) as error:
            self._budget.forget(spool)
            os.close(fd)
            data = {"file": path.name, "error": str(error)}
            logger.warning("output-spool.unreadable", extra={"data": data})
            path.unlink(missing_ok=True)
            return None
        return spool

    def _opened(self, path: Path, fd: int) -> Spool:
        spool = Spool(self._budget, path, fd, f"{path.parent.name}/{path.name}")
        self._budget.open.add(spool)
        return spool
