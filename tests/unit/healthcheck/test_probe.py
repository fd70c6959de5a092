"""The probe against the recorded one-shot cases of the ``healthcheck`` program."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from healthcheck.probe import ProbeError, http_check, tcp_check
from tests.support.paths import GOLDEN_FILES
from tests.support.sockets import open_here
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "lifecycle/healthcheck.json"
IP = "127.0.0.1"
DURATION = re.compile(r"(-?[\d.]+)(ns|ms|s)?")
UNITS = {"ns": 1e-9, "ms": 1e-3, "s": 1.0}


def flags(case) -> dict[str, str]:
    parts = (arg.lstrip("-").partition("=") for arg in case["args"])
    return {name: value for name, _, value in parts}


def probes_the_server_once(case) -> object:
    """Leaves out modes, odd ports, flags and networks, which are the program's, and slow cases."""
    return (
        set(flags(case)) <= {"port", "timeout", "uri"}
        and flags(case).get("port") == "{PORT}"
        and DURATION.fullmatch(flags(case).get("timeout", "1s"))
        and "network" not in case
        and "bind" not in (case["server"] or {})
        and case.get("elapsed_ms", 0) <= 1000
    )


CASES = [case for case in json.loads(GOLDEN.read_text()) if probes_the_server_once(case)]


def seconds(text: str) -> float:
    number, unit = DURATION.fullmatch(text).groups()
    return float(number) * UNITS[unit or "s"]


def needs_its_timeout(case) -> bool:
    """Whether the probe gives up on something; on a busy machine a second is too short for the others."""
    return (case["exit"] != 0 and "timed out" in case["stderr"]) or "delay_ms" in json.dumps(case["server"])


class Server:
    """Plays the ``server`` member of a case and keeps the requests."""

    def __init__(self, script: dict) -> None:
        self.script = script
        self.requests: list[dict] = []
        self.port = 0
        self.tasks: set[asyncio.Task] = set()
        self.met = asyncio.Event()
        self.asked = asyncio.Event()

    def fill(self, text: str) -> str:
        return text.replace("{IP}", IP).replace("{PORT}", str(self.port))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met.set()
        self.tasks.add(asyncio.current_task())
        try:
            await (self.http if self.script["kind"] == "http" else self.tcp)(reader, writer)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def tcp(self, reader, writer) -> None:
        mode = self.script["mode"]
        if mode == "accept":
            await reader.read()
        if mode in ("read-close", "reset", "send"):
            await reader.read(1 << 16)
        if mode == "reset":
            linger = b"\x01\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        if mode == "send":
            writer.write(self.script["data"].encode("latin-1"))
            await writer.drain()

    async def http(self, reader, writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.requests.append(
            {"line": head[0], "headers": sorted(line.split(": ", 1) for line in head[1:] if line)}
        )
        self.asked.set()
        reply = self.reply(head[0].split(" ")[1])
        await asyncio.sleep(reply.get("delay_ms", 0) / 1000)
        if "raw" in reply:
            writer.write(self.fill(reply["raw"]).encode("latin-1"))
        else:
            body = reply.get("body", "").encode()
            lines = [f"HTTP/1.1 {reply['status']} {reply.get('reason', 'X')}"]
            lines += [f"{name}: {self.fill(value)}" for name, value in reply.get("headers", [])]
            lines += [f"Content-Length: {reply.get('length', len(body))}", "", ""]
            writer.write("\r\n".join(lines).encode())
            await writer.drain()
            await asyncio.sleep(reply.get("body_delay_ms", 0) / 1000)
            writer.write(body)
        await writer.drain()

    def reply(self, target: str) -> dict:
        if "routes" in self.script:
            return self.script["routes"].get(target, {"status": 404})
        replies = self.script["replies"]
        return replies[min(len(self.requests), len(replies)) - 1]


@asynccontextmanager
async def serving(script: dict | None) -> AsyncIterator[Server]:
    server = Server(script or {"kind": "closed"})
    listener = socket.create_server((IP, 0), backlog=0)
    server.port = listener.getsockname()[1]
    clients = []
    if server.script["kind"] == "closed":
        listener.close()
        yield server
        return
    if server.script.get("mode") == "backlog-full":
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex((IP, server.port))
            clients.append(client)
        yield server
    else:
        async with await asyncio.start_server(server.serve, sock=listener):
            yield server
            with suppress(TimeoutError):  # some probes never come, others were gone before we noticed
                await asyncio.wait_for(server.met.wait(), 0.1)
            for task in server.tasks:
                task.cancel()
            if server.tasks:
                await asyncio.wait(server.tasks)
    for client in [*clients, listener]:
        client.close()


async def probe(port: int, case) -> ProbeError | None:
    options = flags(case)
    timeout = seconds(options.get("timeout", "1s"))
    if timeout > 0 and not needs_its_timeout(case):
        timeout = max(timeout, PATIENCE_S)
    try:
        if options.get("uri"):
            await http_check(IP, port, options["uri"], timeout, open_here)
        else:
            await tcp_check(IP, port, timeout, open_here)
    except ProbeError as error:
        return error
    return None


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_recorded_case(case):
    async with serving(case["server"]) as server:
        error = await probe(server.port, case)
        expected = re.escape(server.fill(case["stderr"]).strip()).replace(re.escape("{MS}"), r"\d+")
        assert re.fullmatch(expected, "" if error is None else str(error))
        assert (0 if error is None else error.exit_code) == case["exit"]
        for actual, wanted in zip(server.requests, case.get("requests", []), strict=False):
            assert actual["line"] == server.fill(wanted["line"])
            assert actual["headers"] == sorted(
                [name, server.fill(value)] for name, value in wanted["headers"]
            )
        if "request_count" in case:
            assert len(server.requests) == case["request_count"]


def test_the_cases_are_there():
    assert len(CASES) > 70


async def test_a_probe_can_be_interrupted():
    async with serving({"kind": "http", "replies": [{"status": 200, "delay_ms": 60_000}]}) as server:
        task = asyncio.create_task(http_check(IP, server.port, "/", 60, open_here))
        await server.asked.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
