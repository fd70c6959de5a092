"""Signals, broken pipes and ports in use during a run."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from cell.errors import CommandError
from cell.runner.interrupts import received_interrupts
from cell.runner.observed import hold_ports
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_and_the_second_insists(signum: signal.Signals) -> None:
    with received_interrupts() as interrupts:
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(PATIENCE_S):
            await interrupts.requested.wait()
            assert not interrupts.forced.is_set()
            os.kill(os.getpid(), signum)
            await interrupts.forced.wait()


async def test_a_terminal_that_closes_asks_and_does_not_insist() -> None:
    """SIGHUP ends a run in order; the shell sends it a second time when the terminal closes."""
    with received_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(PATIENCE_S):
            await interrupts.requested.wait()
        interrupts.hang_up()
        assert not interrupts.forced.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await interrupts.forced.wait()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_nohup_stays_in_force() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with received_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                await interrupts.requested.wait()
            assert not interrupts.forced.is_set()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


async def test_helpers_do_not_die_of_a_ctrl_c_that_is_meant_for_us() -> None:
    with received_interrupts():
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", "kill -INT $$; echo alive", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert output == b"alive\n"


async def test_afterwards_everything_is_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with received_interrupts():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) != before[1]
    assert (signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before


def test_a_reader_that_goes_does_not_end_the_writer() -> None:
    script = (
        "import sys\n"
        "from cell.runner.output import PipeSafeOutput\n"
        "out = PipeSafeOutput(sys.stdout)\n"
        "for _ in range(10000):\n"
        "    print('x' * 100, file=out, flush=True)\n"
        "print('done', file=sys.stderr)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaints = process.stderr.read()
    assert (process.returncode, complaints) == (0, b"done\n")


def test_a_port_somebody_listens_on_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CommandError, match=f"host port {port} cannot be used: address already in use"):
            hold_ports((port,))


def test_two_runs_do_not_get_the_same_port(unused_tcp_port: int) -> None:
    with hold_ports((unused_tcp_port,)), pytest.raises(CommandError):
        hold_ports((unused_tcp_port,))
    hold_ports((unused_tcp_port,)).close()
