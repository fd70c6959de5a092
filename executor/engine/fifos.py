"""FIFOs between the agent and one process: created before it starts, opened once, read in the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

STATUS_LIMIT = 256
"""Maximum bytes read from the status FIFO. The parent and the waiting child write less than ten; the app's
user owns the FIFO and may write anything.
"""

_READY = b"r"
_EXIT_STATUS = re.compile(rb"(\d{1,3})\n(?:\1\n)*", re.ASCII)
_REFUSED = re.compile(rb"F(\d{1,3})", re.ASCII)
_STATUS_MOST = 255

_NAMES = ("out", "err", "status", "go")


@dataclass(frozen=True, slots=True)
class PidFile:
    """Host pids. parent_start, child_start: in clock ticks after boot; detect a reused pid."""

    parent: int
    parent_start: int
    child: int
    child_start: int


class ProcessFifos:
    """The directory of one process and the agent's descriptors of its FIFOs."""

    def __init__(self, directory: Path) -> None:
        """For an existing directory; :meth:`make` creates one."""
        self._directory = directory
        self._open: dict[str, int] = {}

    @classmethod
    def make(cls, directory: Path, owner: tuple[int, int]) -> ProcessFifos:
        """Create and open the FIFOs; only ``owner`` (host uid, gid) and root may use them. Raises OSError."""
        directory.mkdir(mode=0o755)
        made = cls(directory)
        try:
            directory.chmod(0o755)
            for name in _NAMES:
                path = directory / name
                os.mkfifo(path, 0o600)
                os.chown(path, *owner)
                made._open_name(name, os.O_RDWR if name == "go" else os.O_RDONLY)
        except OSError:
            made.close()
            raise
        return made

    def open_again(self) -> None:
        """Open the FIFOs of a process that a previous agent process started. Raises OSError."""
        try:
            for name in ("out", "err", "status"):
                self._open_name(name, os.O_RDONLY)
        except OSError:
            self.close_descriptors()
            raise

    def give_up(self) -> None:
        """Remove the directory of a process that never executed its program, and end what waits at its FIFOs.

        The names go before the descriptors: what opens a FIFO now fails, and what waits gets the end of file.
        """
        try:
            self._open_name("status", os.O_RDONLY)
            self._open_name("go", os.O_RDWR)
        except FileNotFoundError:
            logger.debug("no-fifos-to-give-up", extra={"data": {"directory": self._directory.name}})
        self.close()

    def _open_name(self, name: str, access: int, file: str = "") -> None:
        path = self._directory / (file or name)
        self._open[name] = os.open(path, access | os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def exists(self) -> bool:
        """Whether the directory exists."""
        return self._directory.exists()

    def write_pids(self, pids: PidFile) -> None:
        """Persist the pids for adoption after a restart."""
        words = (pids.parent, pids.parent_start, pids.child, pids.child_start)
        self._write("pids", " ".join(map(str, words)))

    def read_pids(self) -> PidFile:
        """Read the pids of :meth:`write_pids`. Raises OSError or ValueError."""
        parent, parent_start, child, child_start = map(int, (self._directory / "pids").read_text().split())
        return PidFile(parent, parent_start, child, child_start)

    def write_status(self, status: int) -> None:
        """Persist the exit status. Raises OSError."""
        self._write("exit", str(status))

    def read_status(self) -> int | None:
        """The persisted exit status; None without one. Raises OSError or ValueError."""
        try:
            return int((self._directory / "exit").read_text())
        except FileNotFoundError:
            return None

    def _write(self, name: str, text: str) -> None:
        """Write a file of the agent's own. It is complete or missing, whenever the agent is killed."""
        new = self._directory / f"{name}.new"
        new.write_text(f"{text}\n")
        new.rename(self._directory / name)

    def take(self, name: str) -> int:
        """Hand over a descriptor; the caller closes it."""
        return self._open.pop(name)

    def let_go(self) -> None:
        """Let the waiting child execute its program."""
        os.write(self._open["go"], b"go\n")

    def hold_status(self) -> None:
        """Hold a write end of the status FIFO, whose reader then waits for data only. Raises OSError."""
        self._open_name("status-writer", os.O_WRONLY, "status")

    def repeat_status(self) -> None:
        """Let a parent that waits for an acknowledgement send its status again. Raises OSError."""
        self._open_name("go", os.O_RDWR)
        self.close_name("go")

    def acknowledge(self) -> None:
        """Confirm the exit status, so that the parent ends. Raises OSError.

        The descriptor stays open until the parent has read from it.
        """
        self._open_name("go", os.O_RDWR)
        os.write(self._open["go"], b"ok\n")

    def close_name(self, name: str) -> None:
        """Close one descriptor early."""
        os.close(self._open.pop(name))

    def close(self) -> None:
        """Remove the directory and close the descriptors not handed over.

        The names go first: a parent that opens its status FIFO then fails instead of waiting for a reader.
        """
        self.remove()
        self.close_descriptors()

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def close_descriptors(self) -> None:
        """Close the descriptors not handed over; the directory stays for adoption after a restart."""
        while self._open:
            os.close(self._open.popitem()[1])


class StatusSpoiled(Exception):
    """The status FIFO of a starting process has content that the tiny parent did not write."""


class StatusReader:
    """Reads the ``status`` FIFO up to a condition, at most STATUS_LIMIT bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._unparsed = b""

    def close(self) -> None:
        """Close the descriptor; a second call has no effect."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    async def ready(self, parent_fd: int) -> bool:
        """Wait until the child is ready; False if the parent (a pidfd) ended or wrote a status instead.

        Raises StatusSpoiled.
        """
        while b"\n" not in self._unparsed:
            await readable(self.fd, parent_fd)
            if not self._read():
                return False
            self._check()
        first, _, self._unparsed = self._unparsed.partition(b"\n")
        return first == _READY

    async def failure(self) -> int | None:
        """Wait for the execution of the program: None, or the shell's status if refused. Raises
        StatusSpoiled.
        """
        while True:
            await readable(self.fd)
            if not self._read():
                break
            self._check()
        lines, self._unparsed = self._unparsed.split(b"\n"), b""
        for line in lines:
            if refused := _REFUSED.fullmatch(line):
                return int(refused[1])
        self._unparsed = b"\n".join(lines)  # the exit status of a short-lived process
        return None

    def exit_status(self) -> int | None:
        """The exit status that the parent sent, perhaps repeatedly; None if it is missing or invalid."""
        try:
            self._read()
        except OSError as error:
            logger.error("exit-status-unreadable", exc_info=error)
            return None
        return self._parsed()

    @property
    def spoiled(self) -> bool:
        """Whether the FIFO had content that is not an exit status."""
        return bool(self._unparsed) and self._parsed() is None

    def _parsed(self) -> int | None:
        status = _EXIT_STATUS.fullmatch(self._unparsed)
        return None if status is None or int(status[1]) > _STATUS_MOST else int(status[1])

    def _read(self) -> bool:
        """Read after the FIFO became readable; False at the end.

        Readable without data is the end too: a short program has ended, and its parent has reopened the
        FIFO without writing yet.
        """
        try:
            data = os.read(self.fd, STATUS_LIMIT + 1 - len(self._unparsed))
        except BlockingIOError:
            return False
        self._unparsed += data
        return bool(data)

    def _check(self) -> None:
        if len(self._unparsed) > STATUS_LIMIT:
            raise StatusSpoiled(f"more than {STATUS_LIMIT} bytes of status")


async def readable(*fds: int) -> None:
    """Wait until one of ``fds`` is readable (data, end-of-file, or a pidfd whose process ended)."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    for fd in fds:
        loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        for fd in fds:
            loop.remove_reader(fd)
