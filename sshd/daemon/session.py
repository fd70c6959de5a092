"""A session channel: environment, terminal, one command, its signals and its exit."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable

from sshd.daemon.children import COULD_NOT_START, Children, Ending, program
from sshd.daemon.environment import Allowance, command_environment, find_shell
from sshd.daemon.pumps import Input, Output, Passed
from sshd.daemon.settings import Settings
from sshd.daemon.terminal import (
    PtyRequest,
    apply_modes,
    parse_pty_request,
    parse_window_change,
    set_size,
)
from sshd.daemon.transfers import scp_body, sftp_body
from sshd.ssh import messages as m
from sshd.ssh.channel import Channel
from sshd.wire import Malformed, Reader, boolean, string, uint32

SIGNALS = (
    "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2",
)  # fmt: skip
"""Signal names allowed in client requests and in ``exit-signal``."""

_NUMBERS = {name: int(signal.Signals[f"SIG{name}"]) for name in SIGNALS}
_NAMES = {number: name for name, number in _NUMBERS.items()}

MAX_TERM = 1024
"""Limit of the terminal type, in characters."""

_SCP = re.compile(r"^\s*scp($|\s+)")

LAST_OUTPUT_SECONDS = 0.05
"""Seconds to wait for terminal output after the command's exit: the kernel delivers it from a queue."""


class Session:
    """The handler of one session channel."""

    def __init__(self, settings: Settings, children: Children, variables: Allowance) -> None:
        self._settings = settings
        self._children = children
        self._environment: dict[str, str] = {}
        self._variables = variables
        self._taken = 0  # bytes taken from the allowance for variables
        self._pty: PtyRequest | None = None
        self._running: _Command | None = None
        self._early: list[bytes] = []  # input received before the command
        self._early_end = False
        self._channel: Channel

    def opened(self, channel: Channel) -> None:
        self._channel = channel

    # -- requests -----------------------------------------------------------------------------------

    def request_received(self, name: str, payload: bytes, reply: Callable[[bool], None]) -> None:
        if self._running is not None and self._running.holds_requests:
            return  # never answered: the channel closes when the transfer ends
        handler = _REQUESTS.get(name)
        if handler is None:
            reply(False)
            return
        try:
            handler(self, payload, reply)
        except Malformed:
            reply(False)

    def _env(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        reader = Reader(payload)
        name, value = reader.text(), reader.text()
        reader.end()
        size = len(name) + len(value)
        if self._running is not None:  # too late to take effect
            reply(True)
        elif self._variables.take(size):
            self._taken += size
            self._environment[name] = value
            reply(True)
        else:
            reply(False)

    def _pty_req(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        wanted = parse_pty_request(payload)
        if len(wanted.term) > MAX_TERM:
            raise Malformed(f"a terminal type of {len(wanted.term)} characters")
        self._pty = wanted
        self._environment["TERM"] = self._pty.term
        reply(True)

    def _window_change(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        columns, rows = parse_window_change(payload)
        if self._pty is not None:
            self._pty = PtyRequest(self._pty.term, columns, rows, self._pty.modes)
            if self._running is not None:
                self._running.resize(columns, rows)
        reply(True)

    def _signal(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        reader = Reader(payload)
        name = reader.text()
        reader.end()
        if self._running is not None and name in _NUMBERS:
            self._running.signal(_NUMBERS[name])
        reply(True)

    def _exec(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        reader = Reader(payload)
        command = reader.text()
        reader.end()
        if self._running is not None:
            reply(False)
        elif _SCP.match(command):
            reply(True)
            self._start(scp_body(command), without_pty=True, end=_scp_end, holds_requests=True)
        else:
            reply(True)
            self._start_shell(["-c", command])

    def _shell(self, _payload: bytes, reply: Callable[[bool], None]) -> None:
        if self._running is not None:
            reply(False)
        else:
            reply(True)
            self._start_shell([])

    def _subsystem(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        reader = Reader(payload)
        name = reader.text()
        reader.end()
        if name != "sftp" or self._running is not None:
            reply(False)
        else:
            reply(True)
            self._start(sftp_body(), without_pty=True, end=_sftp_end)

    # -- the command --------------------------------------------------------------------------------

    def _start_shell(self, arguments: list[str]) -> None:
        shell = find_shell()
        environment = command_environment(os.environ, self._settings.inherit_environment, self._environment)
        self._start(program(shell, [shell, *arguments], environment))

    def _start(
        self,
        body: Callable[[], int],
        *,
        without_pty: bool = False,
        end: Callable[[Ending], tuple[str, bytes] | None] | None = None,
        holds_requests: bool = False,
    ) -> None:
        pty = None if without_pty else self._pty
        command = _Command(self._channel, self._children, end or exit_message, holds_requests)
        self._running = command
        self._forget_variables()
        try:
            if pty is None:
                command.start_with_pipes(body)
            else:
                command.start_on_terminal(body, pty, self._settings.keepalive_seconds)
        except OSError:  # no process, descriptor or terminal available
            command.fail()
        early, self._early = self._early, []
        for data in early:
            command.feed(data)
        if self._early_end:
            command.end_input()

    # -- data ---------------------------------------------------------------------------------------

    def data_received(self, kind: int, data: bytes) -> None:
        if kind != m.DATA:
            self._channel.consumed(len(data))
        elif self._running is None:
            self._early.append(data)
        else:
            self._running.feed(data)

    def eof_received(self) -> None:
        if self._running is None:
            self._early_end = True
        else:
            self._running.end_input()

    def writable(self) -> None:
        if self._running is not None:
            self._running.writable()

    def closed(self) -> None:
        self._forget_variables()
        if self._running is not None:
            self._running.abandon()

    def _forget_variables(self) -> None:
        """Drop the variables: the command has started, or will not start."""
        self._variables.give_back(self._taken)
        self._taken = 0
        self._environment.clear()


_REQUESTS: dict[str, Callable[[Session, bytes, Callable[[bool], None]], None]] = {
    "env": Session._env,
    "pty-req": Session._pty_req,
    "window-change": Session._window_change,
    "signal": Session._signal,
    "exec": Session._exec,
    "shell": Session._shell,
    "subsystem": Session._subsystem,
}


def exit_message(ending: Ending) -> tuple[str, bytes]:
    """The channel request that reports the exit of a command, and its payload."""
    if ending.status is not None:
        return "exit-status", uint32(ending.status)
    name = _NAMES.get(ending.signal, "")
    return "exit-signal", string(name.encode()) + boolean(ending.core) + string(b"") + string(b"")


def _scp_end(ending: Ending) -> tuple[str, bytes]:
    return "exit-status", uint32(0 if ending.status == 0 else 1)


def _sftp_end(ending: Ending) -> tuple[str, bytes] | None:
    """Report a status only for a clean exit. After a protocol error, the channel just closes."""
    return ("exit-status", uint32(0)) if ending.status == 0 else None


class _Command:
    """One running command of a session, with its pumps. It ends by itself, without the session waiting."""

    def __init__(
        self,
        channel: Channel,
        children: Children,
        message: Callable[[Ending], tuple[str, bytes] | None],
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
        self._ending: Ending | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._over = False

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
        self._outputs = [Output(master, self._channel, m.DATA, self._terminal_closed)]
        self._keep_alive(keepalive)

    def fail(self) -> None:
        self._ending = Ending(COULD_NOT_START)
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
        if self._terminal is not None and self._ending is not None and not self._over:
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
        if self._over:
            return
        if self._terminal is not None:
            self.signal(signal.SIGHUP)
        self._close()

    # -- exit ----------------------------------------------------------------------------------------

    def _ended(self, ending: Ending) -> None:
        self._ending = ending
        if self._terminal is not None and not self._over and self._outputs[0].open:
            self._drain_terminal()
        else:
            self._maybe_finish()

    def _drain_terminal(self) -> None:
        """Deliver all output written before the exit.

        A leftover process may keep the terminal open, so the end of the terminal's output may never come.
        """
        output = self._outputs[0]
        passed = Passed.SOME
        while output.open and passed is Passed.SOME:
            passed = output.pass_on()
        if output.open and passed is Passed.NOTHING:
            asyncio.get_running_loop().call_later(LAST_OUTPUT_SECONDS, self._last_look)

    def _last_look(self) -> None:
        if self._over or not self._outputs[0].open:
            return
        passed = self._outputs[0].pass_on()
        if passed is Passed.SOME:
            self._drain_terminal()
        elif passed is Passed.NOTHING:
            self._finish()

    def _terminal_closed(self) -> None:
        self._maybe_finish()

    def _maybe_finish(self) -> None:
        if self._ending is not None and not any(output.open for output in self._outputs):
            self._finish()

    def _finish(self) -> None:
        if self._over or self._ending is None:
            return
        message = self._message(self._ending)
        if message is not None:
            self._channel.request(*message)
        self._close()
        self._channel.close()

    def _close(self) -> None:
        self._over = True
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
