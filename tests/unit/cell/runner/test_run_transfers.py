"""Progress of transfers: from cache and uploader to events of a run."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from executor.cache.uploader import Uploader
from executor.steps.trace import PROGRESS_INTERVAL_S, StepEvent, StepProgress, transfer_progress
from tests.support.clocks import HeldClock

pytestmark = pytest.mark.unit

SIZE = 2 << 20


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("blob")
        member.size = SIZE
        archive.addfile(member, io.BytesIO(bytes(SIZE)))
    return buffer.getvalue()


BODY = _tar()


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Serves a tar and takes anything."""

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    app = web.Application(client_max_size=10 * SIZE)
    app.add_routes([web.get("/", serve), web.post("/", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


def _rises_to_the_end(told: list[tuple[int, int | None]], total: int) -> None:
    counts = [done for done, _ in told]
    assert counts == sorted(counts)
    assert len(set(counts)) > 1
    assert told[-1] == (total, total)


@pytest.mark.parametrize("cache_key", ["", "key"])
async def test_a_download_tells_how_far_it_is(site: str, tmp_path: Path, cache_key: str) -> None:
    told: list[tuple[int, int | None]] = []
    async with (
        aiohttp.ClientSession() as session,
        Downloader(Fetcher(session), tmp_path, 10 * SIZE) as downloader,
    ):
        fetched = await downloader.fetch_file(
            site, cache_key, progress=lambda done, total: told.append((done, total))
        )
        fetched.release()
    _rises_to_the_end(told, len(BODY))


async def test_an_upload_tells_how_far_it_is(site: str, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(BODY)
    told: list[tuple[int, int | None]] = []
    async with aiohttp.ClientSession() as session:
        sent = await Uploader(session).upload(
            path, site, progress=lambda done, total: told.append((done, total))
        )
    await asyncio.sleep(0)  # the loop delivers the last report
    assert sent == len(BODY)
    _rises_to_the_end(told, len(BODY))


class _Recorder:
    def __init__(self) -> None:
        self.events: list[StepEvent] = []

    def record(self, event: StepEvent) -> None:
        self.events.append(event)


def test_progress_is_recorded_now_and_then_and_at_the_end() -> None:
    clock, recorder = HeldClock(), _Recorder()
    tell = transfer_progress("action/download", recorder, clock)
    for done in range(1, 101):
        clock.now += PROGRESS_INTERVAL_S / 10
        tell(done, 100)
    events = [event for event in recorder.events if isinstance(event, StepProgress)]
    assert len(events) <= 11
    assert events[-1].transferred_bytes == events[-1].total_bytes == 100
    assert {event.path for event in events} == {"action/download"}
