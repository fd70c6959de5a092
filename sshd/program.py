"""``diego-sshd``: the listener process. A child prepares the settings, another child serves connections.

It uses memory of the app's container, so it imports no library; forked children import what they need. The
serving child exits when no client is connected.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from sshd.preparation import Prepared
    from sshd.records import Records

LISTEN_FAILED = 1
BACKLOG = 4096
RETRY_MILLISECONDS = 1000
"""Pause after a failure of a serving child."""


class ListenError(Exception):
    """The address cannot be bound."""


class Stop(BaseException):
    """SIGTERM or SIGINT arrived."""


def main(argv: list[str]) -> int:
    """Run until a signal ends the program; returns the exit status."""
    prepared = _prepare(argv)
    if isinstance(prepared, int):
        return prepared
    try:
        _hide()
    except OSError as error:
        _records(prepared).write(2, "failed-to-hide-keys", error=str(error))
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        _serve(_listen(str(prepared["address"])), prepared)
    except ListenError as error:
        text = f"Exit trace for group:\nsshd exited with error: {error}\n"
        records = _records(prepared)
        records.write(2, "exited-with-failure", error=text)
        records.close()
        return LISTEN_FAILED
    except Stop:
        records = _records(prepared)
        records.write(1, "server.stopping-server", session="1")
        records.write(1, "exited")
        records.close()
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stop


def _hide() -> None:
    from sshd.hiding import hide_keys

    hide_keys()


def _records(prepared: Prepared) -> Records:
    """The log writer. Its module is loaded only at exit or after an error."""
    from sshd.records import Records

    return Records("sshd", int(str(prepared["log_level"])), bool(prepared["rfc3339"]))


def _prepare(argv: list[str]) -> Prepared | int:
    """Prepare in a child, which writes its result to a pipe."""
    receive, send = os.pipe()

    def body() -> int:
        from sshd.preparation import prepare

        result = prepare(argv)
        os.write(send, marshal.dumps(result))
        return 0

    pid = _fork(body)
    os.close(send)
    with open(receive, "rb") as file:
        result = file.read()
    _, status = os.waitpid(pid, 0)
    if not result:
        return os.waitstatus_to_exitcode(status) or LISTEN_FAILED
    prepared: Prepared | int = marshal.loads(result)
    return prepared


def _fork(body: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        _run_child(body)
    return pid


def _run_child(body: Callable[[], int]) -> NoReturn:
    status = 1
    try:
        status = body()
    except Exception:  # noqa: BLE001 - the edge of a process
        import sys
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _listen(address: str) -> socket.socket:
    """Bind and listen. Raises ListenError with Go's text."""
    from sshd.listening import listen

    try:
        return listen(address, BACKLOG)
    except (OSError, ValueError) as error:
        raise ListenError(str(error)) from error


def _serve(listening: socket.socket, prepared: Prepared) -> None:
    """Start a serving child whenever a connection waits. Ends by :class:`Stop`."""
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    while True:
        waiting.poll()
        alive, lifeline = os.pipe()  # the child exits when the last copy of the second descriptor closes
        pid = 0

        def body(alive: int = alive, lifeline: int = lifeline) -> int:
            os.close(lifeline)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            from sshd.daemon.slim import leave_out

            leave_out()
            from sshd.daemon.worker import run

            return run(prepared, listening, alive)

        try:
            pid = _fork(body)
            os.close(alive)
            _, status = os.waitpid(pid, 0)
        except Stop:
            if pid:
                os.kill(pid, signal.SIGKILL)  # commands continue; terminals hang up
                os.waitpid(pid, 0)
            raise
        finally:
            os.close(lifeline)
        if status:
            _drop_waiting(listening)
            select.poll().poll(RETRY_MILLISECONDS)


def _drop_waiting(listening: socket.socket) -> None:
    """Drop the connection for which a failed child was started; it would start the next child, too."""
    listening.setblocking(False)
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        pass
    finally:
        listening.setblocking(True)
