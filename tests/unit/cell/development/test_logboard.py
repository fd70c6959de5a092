"""App logs over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from cell.apps.loglines import AppLog, Line
from cell.client.session import ComponentFailed
from cell.client.target import BadArguments, Target
from cell.development.logboard import LogBoard
from executor.logs.api import LogLine, Stream
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]


def line(text: str, source: str = "app", at_ns: int = 1) -> LogLine:
    return LogLine(text.encode(), Stream.OUT, source, "0", "APP", at_ns)


@pytest.fixture
def board() -> LogBoard:
    return LogBoard(lines=3, sources=2)


@pytest.fixture
async def client(board: LogBoard) -> AsyncIterator[Client]:
    async with TestClient(TestServer(board.app())) as test_client:
        yield test_client


def log(client: Client, source: str = "app") -> AppLog:
    return AppLog(Target(logs=str(client.make_url("")).rstrip("/")), source)


async def test_recent_lines_are_the_last_ones_of_that_app(board: LogBoard, client: Client) -> None:
    for number in range(5):
        board.emit(line(f"line {number}", at_ns=number))
    board.emit(line("other", source="other"))
    assert await log(client).recent() == [
        Line(number, "APP", "0", "OUT", f"line {number}") for number in (2, 3, 4)
    ]
    assert await log(client, "unheard-of").recent() == []


async def test_bytes_that_are_no_text(board: LogBoard, client: Client) -> None:
    board.emit(LogLine(b"caf\xc3\xa9 \xff", Stream.ERR, "app", "", "STG", 7))
    assert await log(client).recent() == [Line(7, "STG", "", "ERR", "café \ufffd")]


async def test_followers_get_what_comes_from_then_on(board: LogBoard, client: Client) -> None:
    board.emit(line("before"))
    async with log(client).following() as lines:
        for number in range(10):
            board.emit(line(f"line {number}"))
            assert (await anext(lines)).message == f"line {number}"


async def test_the_end_of_the_board_ends_its_followers(board: LogBoard) -> None:
    server = TestServer(board.app())
    await server.start_server()
    target = Target(logs=f"http://{server.host}:{server.port}")
    async with AppLog(target, "app").following() as lines:
        waiting = asyncio.create_task(_all(lines))
        async with asyncio.timeout(PATIENCE_S):
            await server.close()
            with pytest.raises(ComponentFailed):
                await waiting


async def _all(lines: AsyncIterator[Line]) -> list[Line]:
    return [line async for line in lines]


async def test_the_least_used_source_is_forgotten_unless_somebody_follows(
    board: LogBoard, client: Client
) -> None:
    async with log(client, "followed").following() as lines:
        for source in ("one", "two", "three"):
            board.emit(line("x", source=source))
        board.emit(line("still here", source="followed"))
        assert (await anext(lines)).message == "still here"
    assert await log(client, "one").recent() == []
    assert len(await log(client, "three").recent()) == 1


async def test_clients_that_ask_for_other_names_do_not_make_the_board_forget(
    board: LogBoard, client: Client
) -> None:
    """Requests for names that nothing logs under cost the logs of the apps nothing."""
    for source in ("one", "two"):
        board.emit(line("kept", source))
    async with AsyncExitStack() as stack:
        for number in range(5):
            await stack.enter_async_context(log(client, f"unheard-of-{number}").following())
        heard = await stack.enter_async_context(log(client, "later").following())
        assert [len(await log(client, source).recent()) for source in ("one", "two")] == [1, 1]
        board.emit(line("first", "later"))
        assert (await anext(heard)).message == "first"


async def test_a_name_is_a_name_whatever_its_characters(board: LogBoard, client: Client) -> None:
    """The log guid of a Task may have characters that mean something in a URL."""
    board.emit(line("x", "a/b?recent#c%41"))
    assert len(await log(client, "a/b?recent#c%41").recent()) == 1


ANSWERS_OF_OTHERS = {
    "an error": (404, b"404: Not Found"),
    "a page": (200, b"<html>"),
    "other JSON": (200, b'{"hello": 1}\n'),
    "a time without end": (
        200,
        b'{"time_ns":1e400,"source_type":"","instance_id":"","stream":"","message":""}\n',
    ),
    "a list": (200, b"[1]\n"),
    "a deep list": (200, b"[" * 100_000 + b"\n"),
    "a line without end": (200, b"x" * (3 << 20)),
}


@pytest.mark.parametrize(("status", "body"), ANSWERS_OF_OTHERS.values(), ids=ANSWERS_OF_OTHERS)
async def test_another_server_in_the_place_of_the_board(status: int, body: bytes) -> None:
    """The command ends with one line if another program answers at the address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestClient(TestServer(app)) as client:
        with pytest.raises(ComponentFailed, match="/v1/logs/app: "):
            await log(client).recent()
        with pytest.raises(ComponentFailed, match="/v1/logs/app: "):
            async with log(client).following() as lines:
                await anext(lines)


async def test_every_line_is_a_json_object(board: LogBoard, client: Client) -> None:
    board.emit(line('a "quoted"\ttext'))
    async with client.get("/v1/logs/app?recent") as answer:
        assert answer.content_type == "application/x-ndjson"
        assert json.loads(await answer.text()) == {
            "time_ns": 1,
            "source_type": "APP",
            "instance_id": "0",
            "stream": "OUT",
            "message": 'a "quoted"\ttext',
        }


def test_logs_are_kept_by_cell_dev_only() -> None:
    with pytest.raises(BadArguments, match="BBS_URL names only a BBS"):
        AppLog(Target(bbs_url="http://bbs", origin="BBS_URL"), "app")
