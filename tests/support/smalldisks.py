"""A small file system, which can be filled and changed."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted file system in memory. place: its folder."""

    place: Path

    def fill(self) -> Path:
        """Fill it up, to the last byte; returns the file to remove."""
        filler = self.place / "filler"
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                return filler

    @contextmanager
    def kept_full(self) -> Iterator[None]:
        """No space inside the context, whatever is removed."""
        ended = threading.Event()

        def fill() -> None:
            while not ended.wait(0.001):
                self.fill()

        self.fill()
        thread = threading.Thread(target=fill)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def remount(self, *options: str) -> None:
        """Change its options, such as ``ro`` or ``size=1g``."""
        subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(self.place)], check=True)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[SmallDisk]:
    """Mounted inside the context. Skips the test if mounting is not permitted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
