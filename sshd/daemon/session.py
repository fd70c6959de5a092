"""A session channel: the requests of a client about environment, terminal and its one command."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from sshd.daemon.children import Children, ExitState, program
from sshd.daemon.command import SIGNAL_NUMBERS, Command, exit_message, scp_body, scp_end, sftp_body, sftp_end
from sshd.daemon.environment import Allowance, command_environment, find_shell
from sshd.daemon.settings import Settings
from sshd.daemon.terminal import PtyRequest, parse_pty_request, parse_window_change
from sshd.ssh import messages as m
from sshd.ssh.channel import Channel
from sshd.wire import Malformed, Reader

MAX_TERM = 1024
"""Limit of the terminal type, in characters."""

_SCP = re.compile(r"^\s*scp($|\s+)")


class Session:
    """The handler of one session channel."""

    def __init__(self, settings: Settings, children: Children, variables: Allowance) -> None:
        self._settings = settings
        self._children = children
        self._environment: dict[str, str] = {}
        self._variables = variables
        self._taken = 0  # bytes taken from the allowance for variables
        self._pty: PtyRequest | None = None
        self._running: Command | None = None
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
        pty = parse_pty_request(payload)
        if len(pty.term) > MAX_TERM:
            raise Malformed(f"a terminal type of {len(pty.term)} characters")
        self._pty = pty
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
        if self._running is not None and name in SIGNAL_NUMBERS:
            self._running.signal(SIGNAL_NUMBERS[name])
        reply(True)

    def _exec(self, payload: bytes, reply: Callable[[bool], None]) -> None:
        reader = Reader(payload)
        command = reader.text()
        reader.end()
        if self._running is not None:
            reply(False)
        elif _SCP.match(command):
            reply(True)
            self._start(scp_body(command), without_pty=True, end=scp_end, holds_requests=True)
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
            self._start(sftp_body(), without_pty=True, end=sftp_end)

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
        end: Callable[[ExitState], tuple[str, bytes] | None] | None = None,
        holds_requests: bool = False,
    ) -> None:
        pty = None if without_pty else self._pty
        command = Command(self._channel, self._children, end or exit_message, holds_requests)
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
        self._variables.release(self._taken)
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
