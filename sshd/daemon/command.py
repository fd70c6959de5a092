"""A running command of a session: a program on pipes or a terminal, or a built-in transfer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from sshd.daemon.children import COULD_NOT_START, Children, ExitState
from sshd.daemon.pumps import Input, Output, Transferred
from sshd.daemon.terminal import PtyRequest, apply_modes, set_size
from sshd.ssh import messages as m
from sshd.ssh.channel import Channel
from sshd.wire import boolean, string, uint32

SIGNALS = (
    "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2",
)  # fmt: skip
"""Signal names allowed in client requests and in ``exit-signal``."""

SIGNAL_NUMBERS = {name: int(signal.Signals[f"SIG{name}"]) for name in SIGNALS}
_NAMES = {number: name for name, number in SIGNAL_NUMBERS.items()}

LAST_OUTPUT_SECONDS = 0.05
"""Seconds to wait for terminal output after the command's exit: the kernel delivers it from a queue."""


def scp_body(command: str) -> Callable[[], int]:
    """The body of a child that runs ``scp``. Only the child imports it."""

    def run() -> int:
        from sshd.scp.program import run_command

        return run_command(command)

    return run


def sftp_body() -> Callable[[], int]:
    """The body of a child that serves SFTP."""

    def run() -> int:
        from sshd.sftp.server import serve

        return serve()

    return run


def exit_message(exit_state: ExitState) -> tuple[str, bytes]:
    """The channel request that reports the exit of a command, and its payload."""
    if exit_state.status is not None:
        return "exit-status", uint32(exit_state.status)
    name = _NAMES.get(exit_state.signal, "")
    return "exit-signal", string(name.encode()) + boolean(exit_state.core) + string(b"") + string(b"")


def scp_end(exit_state: ExitState) -> tuple[str, bytes]:
    return "exit-status", uint32(0 if exit_state.status == 0 else 1)


def sftp_end(exit_state: ExitState) -> tuple[str, bytes] | None:
    """Report a status only for a clean exit. After a protocol error, the channel just closes."""
    return ("exit-status", uint32(0)) if exit_state.status == 0 else None


class Command:
    """One running command of a session, with its pumps. It ends by itself, without the session waiting."""

    def __init__(
        self,
        channel: Channel,
        children: Children,
        message: Callable[[ExitState], tuple[str, bytes] | None],
        holds_requests: bool,
    ) -> None:
        self.holds_requests = holds_requests
        self._channel = channel
        self._children = children
        self._message = message
        self._pid = 0
        self._terminal: int | None = None
        self._input: Input | None = None
        self._outputs: list[Output] = []
        self._exit_state: ExitState | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._finished = False

    # -- start --------------------------------------------------------------------------------------

    def start_with_pipes(self, body: Callable[[], int]) -> None:
        descriptors: list[int] = []
        try:
            for _ in range(3):
                descriptors += os.pipe()
            stdin, feed, stdout, output, stderr, errors = (
                descriptors[0], descriptors[1], descriptors[3], descriptors[2], descriptors[5],
                descriptors[4],
            )  # fmt: skip
            self._pid = self._children.fork(body, (stdin, stdout, stderr), False, self._ended)
        except OSError:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        self._input = Input(feed, self._channel)
        self._outputs = [
            Output(output, self._channel, m.DATA, self._maybe_finish),
            Output(errors, self._channel, m.STDERR, self._maybe_finish),
        ]

    def start_on_terminal(self, body: Callable[[], int], pty: PtyRequest, keepalive: float) -> None:
        master, slave = os.openpty()
        feed = -1
        try:
            apply_modes(slave, pty.modes)
            set_size(slave, pty.columns, pty.rows)
            feed = os.dup(master)
            self._pid = self._children.fork(body, (slave, slave, slave), True, self._ended)
        except OSError:
            for descriptor in (master, feed):
                if descriptor >= 0:
                    os.close(descriptor)
            raise
        finally:
            os.close(slave)
        self._terminal = master
        self._input = Input(feed, self._channel)
        self._outputs = [Output(master, self._channel, m.DATA, self._maybe_finish)]
        self._keep_alive(keepalive)

    def fail(self) -> None:
        self._exit_state = ExitState(COULD_NOT_START)
        self._finish()

    # -- client actions ------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        if self._input is None:
            self._channel.consumed(len(data))
        else:
            self._input.feed(data)

    def end_input(self) -> None:
        if self._input is not None and self._terminal is None:
            self._input.end()

    def writable(self) -> None:
        for output in self._outputs:
            output.resume()
        if self._terminal is not None and self._exit_state is not None and not self._finished:
            self._drain_terminal()

    def signal(self, number: int) -> None:
        self._children.signal(self._pid, number)

    def resize(self, columns: int, rows: int) -> None:
        if self._terminal is not None and self._outputs[0].open:
            set_size(self._terminal, columns, rows)

    def abandon(self) -> None:
        """The channel is gone. A command with a terminal gets a hang-up.

        Other commands see their closed pipes.
        """
        if self._finished:
            return
        if self._terminal is not None:
            self.signal(signal.SIGHUP)
        self._close()

    # -- exit ----------------------------------------------------------------------------------------

    def _ended(self, exit_state: ExitState) -> None:
        self._exit_state = exit_state
        if self._terminal is not None and not self._finished and self._outputs[0].open:
            self._drain_terminal()
        else:
            self._maybe_finish()

    def _drain_terminal(self) -> None:
        """Deliver all output written before the exit.

        A leftover process may keep the terminal open, so the end of the terminal's output may never come.
        """
        output = self._outputs[0]
        transferred = Transferred.SOME
        while output.open and transferred is Transferred.SOME:
            transferred = output.transfer()
        if output.open and transferred is Transferred.NOTHING:
            asyncio.get_running_loop().call_later(LAST_OUTPUT_SECONDS, self._drain_again)

    def _drain_again(self) -> None:
        if self._finished or not self._outputs[0].open:
            return
        transferred = self._outputs[0].transfer()
        if transferred is Transferred.SOME:
            self._drain_terminal()
        elif transferred is Transferred.NOTHING:
            self._finish()

    def _maybe_finish(self) -> None:
        if self._exit_state is not None and not any(output.open for output in self._outputs):
            self._finish()

    def _finish(self) -> None:
        if self._finished or self._exit_state is None:
            return
        message = self._message(self._exit_state)
        if message is not None:
            self._channel.request(*message)
        self._close()
        self._channel.close()

    def _close(self) -> None:
        self._finished = True
        if self._keepalive is not None:
            self._keepalive.cancel()
        if self._input is not None:
            self._input.stop()
        for output in self._outputs:
            output.stop()

    # -- keepalive ----------------------------------------------------------------------------------

    def _keep_alive(self, seconds: float) -> None:
        def beat() -> None:
            self._channel.request("keepalive@cloudfoundry.org", b"", want_reply=True)
            self._keep_alive(seconds)

        self._keepalive = asyncio.get_running_loop().call_later(seconds, beat)
