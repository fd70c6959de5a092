"""SSH client for machines without `ssh`: a command, or a shell on this terminal."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, TextIO

import asyncssh

from cell.apps.ssh import SSHTarget

FAILED = 255
"""Exit status for a failed connection, like ssh."""


def enter_without_ssh(target: SSHTarget, command: str | None) -> int:
    """The exit status of the command or shell; 255 if the connection fails."""
    try:
        return asyncio.run(_enter(target, command))
    except (OSError, asyncssh.Error) as error:
        print(f"{target.host}:{target.port}: {error}", file=sys.stderr)
        return FAILED


async def _enter(target: SSHTarget, command: str | None) -> int:
    on_terminal = command is None and sys.stdin.isatty()
    async with asyncssh.connect(
        target.host,
        target.port,
        username="vcap",
        client_keys=[asyncssh.import_private_key(target.private_key)],
        known_hosts=asyncssh.import_known_hosts(f"[{target.host}]:{target.port} {target.host_key}\n"),
        config=None,
        agent_path=None,
        kex_algs=["curve25519-sha256@libssh.org"],
    ) as connection:
        with _raw_terminal() if on_terminal else nullcontext():
            process = await connection.create_process(
                command,
                term_type=os.environ.get("TERM", "dumb") if on_terminal else None,
                term_size=os.get_terminal_size() if on_terminal else (0, 0),
                stdin=_readable_stdin(),
                stdout=_copy(sys.stdout, "wb"),
                stderr=_copy(sys.stderr, "wb"),
                encoding=None,
            )
            result = await process.wait()
    return FAILED if result.exit_status is None or result.exit_status < 0 else result.exit_status


def _readable_stdin() -> IO[bytes] | int:
    """Standard input, except a device such as /dev/null, which the event loop cannot poll."""
    device = stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    return asyncssh.DEVNULL if device and not sys.stdin.isatty() else _copy(sys.stdin, "rb")


def _copy(stream: TextIO, mode: str) -> IO[bytes]:
    """A duplicate, because the library closes its streams."""
    copy: IO[bytes] = os.fdopen(os.dup(stream.fileno()), mode, buffering=0)
    return copy


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Raw mode: pass keys through unchanged."""
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
