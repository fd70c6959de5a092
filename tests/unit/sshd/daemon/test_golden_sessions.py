"""Recorded session channels, request by request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sshd.wire import Reader, string, text, uint32
from tests.support.paths import GOLDEN_FILES
from tests.support.thorough import sampled

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads((GOLDEN_FILES / "lifecycle/sshd_sessions.json").read_text())

STILL_OPEN = "{STILL OPEN}"


def encode(request: list[Any]) -> tuple[str, bytes, bool]:
    """Name, payload and whether a reply is wanted."""
    kind, *rest = request
    if kind == "raw":
        name, payload, *wanted = rest
        return name, bytes.fromhex(payload), wanted != [False]
    if kind == "pty-req":
        term, columns, rows, *modes = rest
        encoded = b"".join(
            bytes((opcode,)) if value is None else bytes((opcode,)) + uint32(value)
            for opcode, value in (modes[0] if modes else [])
        )
        return kind, text(term) + uint32(columns) + uint32(rows) + uint32(0) * 2 + string(encoded), True
    if kind == "window-change":
        return kind, b"".join(map(uint32, rest)) + uint32(0) * 2, True
    return kind, b"".join(map(text, rest)), True


def decode_end(name: str, payload: bytes) -> dict[str, Any]:
    reader = Reader(payload)
    if name == "exit-status":
        return {name: reader.uint32()}
    if name == "exit-signal":
        return {
            name: reader.text(),
            "core": reader.boolean(),
            "message": reader.text(),
            "language": reader.text(),
        }
    return {name: payload.hex()}


@pytest.mark.parametrize("case", sampled(CASES, 24), ids=lambda case: case["name"])
async def test_session(case: dict[str, Any], daemons: Any, connect_to: Any) -> None:
    env = {name: value.replace("{HOME}", "HOME") for name, value in case["env"].items()}
    own = [argument for argument in case["args"] if not argument.startswith(("-hostKey", "-authorizedKey"))]
    with daemons.kept(*own, env=env) as daemon:
        client = await connect_to(daemon.port)
        recorder = await client.open()
        replies: list[str | None] = []
        for request in case["requests"]:
            if request[0] == "wait_ms":
                await asyncio.sleep(request[1] / 1000)
                continue
            name, payload, wanted = encode(request)
            answer = recorder.channel.request(name, payload, wanted)
            replies.append(None if answer is None else "success" if await answer else "failure")
        recorder.channel.send(case["stdin"].encode("latin-1"))
        if case["stdin_eof"]:
            recorder.channel.send_eof()
        closed = True
        try:
            async with asyncio.timeout(1 if STILL_OPEN in case["stdout"] else 10):
                await recorder.over.wait()
        except TimeoutError:
            closed = False
        seen = recorder.seen
        assert replies == case["replies"]
        assert seen.output.decode("latin-1") == case["stdout"].replace("{HOME}", str(daemon.home)).replace(
            STILL_OPEN, ""
        )
        assert seen.errors.decode("latin-1") == case["stderr"]
        assert [decode_end(*request) for request in seen.requests] == case["end"]
        assert closed is case["channel_closed"]
