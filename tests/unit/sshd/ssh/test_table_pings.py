"""A ping of an authenticated client is answered with its own text."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sshd.ssh import messages as m
from sshd.wire import string
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 40])
async def test_pings(content: bytes, daemon: Any, connect_to: Any) -> None:
    link = (await connect_to(daemon.port)).link
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    others = link.process_packet

    def process(kind: int, number: int, packet: Any) -> Any:
        if kind == m.PONG:
            answers.put_nowait(packet.get_remaining_payload())
            return True
        return others(kind, number, packet)

    link.process_packet = process
    link.send_packet(m.PING, string(content))
    async with asyncio.timeout(PATIENCE_S):
        assert await answers.get() == string(content)
