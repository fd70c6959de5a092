"""Error texts for tunnels whose destination is unreachable."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from sshd.daemon.dialing import DialFailed, Names, dial, listen
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@pytest.fixture
def closed() -> int:
    """A port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as end:
        return int(end.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("", "127.0.0.1"), ("::1", "[::1]")],
)
async def test_nobody_listens(host: str, shown: str, closed: int) -> None:
    with pytest.raises(DialFailed) as failed:
        await dial(host, closed, Names())
    first = str(failed.value)
    wanted = f"dial tcp {shown}:{closed}: connect: connection refused"
    if host in ("localhost", ""):  # whichever of its addresses comes first here
        assert first in (wanted, wanted.replace(shown, "[::1]"))
    else:
        assert first == wanted


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 65536, "dial tcp: address 65536: invalid port"),
        ("127.0.0.1", 70000, "dial tcp: address 70000: invalid port"),
        ("no.such.invalid", 80, "dial tcp: lookup no.such.invalid: no such host"),
        ("a" * 300, 80, f"dial tcp: lookup {'a' * 300}: no such host"),
    ],
)
async def test_addresses_that_are_none(host: str, port: int, text: str) -> None:
    with pytest.raises(DialFailed) as failed:
        await dial(host, port, Names())
    assert str(failed.value) == text


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65536), ("no.such.invalid", 0), ("192.0.2.77", 0)])
async def test_where_nobody_can_listen(host: str, port: int) -> None:
    with pytest.raises(OSError, match=r"."):
        await listen(host, port, lambda _: None, Names())


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
async def test_all_addresses_are_those_of_both_families(host: str) -> None:
    connected: list[object] = []
    server, (_, port) = await listen(host, 0, connected.append, Names())
    async with server:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port), 10):
                pass


async def test_slow_names_of_one_client_do_not_delay_another(
    closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    answer, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *args: Any, **options: Any) -> Any:
        if host == "slow.example":
            loop.call_soon_threadsafe(asked.set)
            answer.wait(60)
            raise socket.gaierror("no answer")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = Names()
    slow = [asyncio.create_task(dial("slow.example", 80, names)) for _ in range(200)]
    try:
        await asked.wait()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(DialFailed, match="connection refused"):
                await dial("localhost", closed, Names())
    finally:
        answer.set()
        failures = await asyncio.gather(*slow, return_exceptions=True)
    assert {str(failure) for failure in failures} == {"dial tcp: lookup slow.example: no such host"}
