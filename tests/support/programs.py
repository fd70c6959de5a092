"""``cell`` as a separate process that starts quickly: a fork of a server that has imported it.

``python -m cell run`` spends a second of processor time on imports. A test about what a command does, with a
pid, streams, signals and an exit status of its own, starts it here; a test about the start itself starts the
interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing.reduction import DupFd
from typing import Any

from cell.registry import COMMANDS, module_of

_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload(
    [
        "cell.main",
        *map(module_of, COMMANDS),
        *("cell.assembly.service", "cell.development.service", "cell.runner.launch"),  # imported by a start
    ]
)


class CellProcess:
    """A started ``cell``; its members are those of :class:`asyncio.subprocess.Process`."""

    def __init__(
        self,
        process: Any,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid: int = process.pid

    @property
    def returncode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    async def wait(self) -> int:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        code: int = self._process.exitcode
        return code

    async def communicate(self, given: bytes = b"") -> tuple[bytes, bytes]:
        async def feed() -> None:
            with contextlib.suppress(ConnectionError):
                self.stdin.write(given)
                await self.stdin.drain()
            self.stdin.close()

        _, out, err, _ = await asyncio.gather(feed(), self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def start_cell(*words: str, **environment: str) -> CellProcess:
    """``cell WORDS`` with pipes for its streams. environment: beside what this process has."""
    (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = (os.pipe() for _ in range(3))
    inner = stdin, stdout, stderr
    try:
        process = _FORKSERVER.Process(
            target=_ForkedCell(words, {**os.environ, **environment}, inner), name=f"cell {words[0]}"
        )
        process.start()
    finally:
        for descriptor in inner:
            os.close(descriptor)
    return CellProcess(
        process, await _writer(to_stdin), await _reader(from_stdout), await _reader(from_stderr)
    )


class _ForkedCell:
    """What the forked process does."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str], streams: tuple[int, ...]) -> None:
        self._words = words
        self._environment = environment
        self._streams = streams

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_streams": [DupFd(descriptor) for descriptor in self._streams]}

    def __call__(self) -> None:
        for number, given in enumerate(self._streams):
            descriptor = given.detach()  # type: ignore[attr-defined]
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(self._environment)
        sys.argv = ["cell", *self._words]
        from cell.main import main  # imported by the server

        sys.exit(main())


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(descriptor, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader
