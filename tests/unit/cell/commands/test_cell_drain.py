"""`cell drain`: starts the evacuation of a rep, and waits for the rep's end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from cell.client.admin import Rep
from cell.client.target import BadArguments
from cell.commands.drain import chosen
from cell.development.endpoints import published
from cell.main import main
from rep.evacuation import EvacuationFlag
from rep.server import AdminRoutes, listening
from tests.support.outcomes import idle_courier
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


def configured(folder: Path, address: str) -> list[str]:
    config = folder / "rep.json"
    config.write_text(json.dumps({"cell_id": "cell-1", "listen_addr": address}))
    return ["drain", "--config", str(config)]


async def test_a_drain_lasts_until_the_rep_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = EvacuationFlag()
    async with AsyncExitStack() as stack:
        application = AdminRoutes(flag, idle_courier()).application()
        address = await stack.enter_async_context(listening(application, "127.0.0.1:0", None))
        draining = asyncio.create_task(asyncio.to_thread(main, configured(tmp_path, str(address))))
        async with asyncio.timeout(PATIENCE_S):
            await flag.wait()
        assert not draining.done()
        await stack.aclose()
        assert await draining == 0
    assert capsys.readouterr().out.splitlines() == ["cell-1: evacuating", "cell-1: ended"]


async def test_the_end_need_not_be_awaited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flag = EvacuationFlag()
    application = AdminRoutes(flag, idle_courier()).application()
    async with listening(application, "127.0.0.1:0", None) as address:
        cells = [{"cell_id": "cell-7", "admin": f"http://{address}"}]
        with published(tmp_path, {"bbs": "b", "locket": "l", "cells": cells}):
            arguments = ["drain", "--state-dir", str(tmp_path), "--no-wait"]
            assert await asyncio.to_thread(main, arguments) == 0
    assert flag
    assert capsys.readouterr().out == "cell-7: evacuating\n"


async def test_a_rep_that_refuses_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=500)

    application = web.Application()
    application.router.add_post("/evacuate", refuse)
    async with listening(application, "127.0.0.1:0", None) as address:
        assert await asyncio.to_thread(main, configured(tmp_path, str(address))) == 4
    assert capsys.readouterr().err == f"cell drain: cell cell-1: http://{address}/evacuate answered 500\n"


def test_a_rep_that_does_not_listen_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(configured(tmp_path, "127.0.0.1:1")) == 4
    assert capsys.readouterr().err.startswith("cell drain: cell cell-1: http://127.0.0.1:1/evacuate")


@pytest.mark.parametrize(
    ("known", "cell_id", "complaint"),
    [
        (("cell-1", "cell-2"), None, "name one cell of cell-1, cell-2"),
        (("cell-1",), "cell-9", "no cell cell-9: known cell-1"),
        ((), None, "name one cell of none"),
    ],
)
def test_one_cell_is_drained(known: Sequence[str], cell_id: str | None, complaint: str) -> None:
    with pytest.raises(BadArguments, match=complaint):
        chosen([Rep(name, "http://127.0.0.1:1", None) for name in known], cell_id)


def test_the_only_cell_needs_no_name() -> None:
    reps = [Rep("cell-1", "http://127.0.0.1:1", None)]
    assert chosen(reps, None) == chosen(reps, "cell-1") == reps[0]
