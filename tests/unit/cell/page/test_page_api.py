"""The page over HTTP: its files, its rows and its containers, for any client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from bbs.models.actions import DownloadAction, RunAction, SerialAction
from cell.page import api, feed
from cell.page.api import Page
from cell.page.assets import assets
from cell.page.source import CellSource
from executor.model import RunResult
from executor.steps.trace import Outcome
from tests.support.shown_cells import DOWNLOADS, EPOCH_NS, GROUP, PROGRAM, ShownCell, page_of
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.unit


@pytest.fixture
def shown() -> ShownCell:
    return ShownCell()


@pytest.fixture
async def url(shown: ShownCell) -> AsyncIterator[str]:
    async with page_of(CellSource(shown.cell)) as base:
        yield base


@asynccontextmanager
async def events(url: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """The events of a feed: name and data."""

    async def parsed(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
        async with asyncio.timeout(PATIENCE_S):
            while record := await response.content.readuntil(b"\n\n"):
                head, _, data = record.decode().rstrip("\n").partition("\n")
                yield head.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async with aiohttp.ClientSession(read_bufsize=1 << 22) as session, session.get(url) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        yield parsed(response)


async def until_event(
    feed_of: AsyncIterator[tuple[str, Any]], wanted: str, holds: Any = lambda data: True
) -> Any:
    async for name, data in feed_of:
        if name == wanted and holds(data):
            return data
    raise AssertionError(f"the feed ended before {wanted}")


async def state(url: str) -> dict[str, list[dict[str, Any]]]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/state") as response:
        assert response.status == 200
        tables: dict[str, list[dict[str, Any]]] = (await response.json())["tables"]
        return tables


async def container(url: str, guid: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/containers/{guid}") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


def running_web(shown: ShownCell, index: int = 0) -> str:
    guid = shown.reserve("web", index).guid
    shown.run(guid, name="shop")
    shown.become_running(guid)
    return guid


# -- files -----------------------------------------------------------------------------------------------


async def test_the_page_and_its_files_come_with_a_strict_policy(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for name in ("", *assets()):
            async with session.get(f"{url}/{name}") as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                tag = response.headers["ETag"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "nonce" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            async with session.get(f"{url}/{name}", headers={"If-None-Match": tag}) as response:
                assert response.status == 304


async def test_files_outside_the_page_do_not_exist(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/api.py", "/nothing.js", "/..%2fapi.py", "/static/page.css"):
            async with session.get(URL(url + path, encoded=True)) as response:
                assert response.status == 404


async def test_nothing_can_be_changed(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/", "/state", "/feed", "/containers/x"):
                async with session.request(method, url + path) as response:
                    assert response.status == 405


async def test_pages_of_other_sites_get_nothing(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for headers in ({"Host": "rebound.test"}, {"Origin": "http://evil.test"}):
            for path in ("/", "/state", "/feed", "/containers/x/feed"):
                async with session.get(url + path, headers=headers) as response:
                    assert response.status == 403


async def test_below_a_prefix_the_page_has_a_slash_at_its_end(shown: ShownCell) -> None:
    async with (
        page_of(CellSource(shown.cell), "/page") as url,
        aiohttp.ClientSession() as session,
        session.get(url) as response,
    ):
        assert response.url.path == "/page/"
        assert response.status == 200


def test_no_file_of_the_page_makes_elements_of_texts() -> None:
    unsafe = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    for name, asset in assets().items():
        text = asset.body.decode()
        assert [word for word in unsafe if word in text] == [], name
        assert "http://" not in text.replace("http://www.w3.org/", ""), f"{name} names another host"
        assert "style=" not in text, name


# -- rows ------------------------------------------------------------------------------------------------


async def test_the_rows_of_a_cell(shown: ShownCell, url: str) -> None:
    guid = running_web(shown)
    shown.use(guid, 5 << 20, cpu=12.34)
    shown.reserve_task("sum")
    shown.rep.waiting.append(
        {
            "container_guid": "gone",
            "report": "CrashActualLRP",
            "recorded_at": 1.5,
            "stored": True,
            "attempts": 3,
            "answer": "unavailable",
            "next_attempt_in_s": 1.0,
        }
    )
    tables = await state(url)
    (cell,) = tables["cells"]
    assert (cell["id"], cell["state"], cell["mem"]) == ("cell-1", "ok", [96, 8000])
    assert (cell["instances"], cell["tasks"], cell["starting"]) == (1, 1, 1)
    (app,) = tables["apps"]
    assert (app["id"], app["name"], app["desired"]) == ("web", "shop", None)
    (instance,) = tables["instances"]
    assert (instance["app"], instance["state"], instance["ports"]) == ("web", "RUNNING", [[61001, 8080]])
    (task,) = tables["tasks"]
    assert (task["id"], task["state"]) == ("sum", "RUNNING")
    used = {row["id"]: row for row in tables["containers"]}
    assert (used[guid]["mem"], used[guid]["cpu"], used[guid]["phase"]) == (5 << 20, 12.3, "running")
    (report,) = tables["reports"]
    assert (report["report"], report["attempts"], report["answer"]) == ("CrashActualLRP", 3, "unavailable")
    assert [row["what"] for row in tables["activity"]] == ["running"]


async def test_changes_come_while_the_page_is_open(shown: ShownCell, url: str) -> None:
    async with events(f"{url}/feed") as told:
        hello = await until_event(told, "hello")
        assert (hello["scope"], hello["name"]) == ("cell", "cell-1")
        await until_event(told, "complete")
        guid = running_web(shown)
        rows = await until_event(told, "rows", lambda data: "instances" in data["set"])
        assert rows["set"]["instances"][0]["state"] == "RUNNING"
        shown.crash(guid)
        rows = await until_event(told, "rows", lambda data: "instances" in data["set"])
        assert rows["set"]["instances"][0]["reason"] == "APP/PROC/WEB: Exited with status 1"
        shown.remove(guid)
        rows = await until_event(told, "rows", lambda data: "instances" in data["gone"])
        assert rows["gone"] == {"containers": [guid], "instances": [guid], "apps": ["web"]}


@pytest.mark.parametrize(
    ("change", "state_of_cell"),
    [
        (lambda shown: shown.rep.ready.clear(), "starting"),
        (lambda shown: setattr(shown.executor, "healthy", False), "unhealthy"),
        (lambda shown: shown.rep.evacuation.set(), "evacuating"),
    ],
)
async def test_the_state_of_a_cell(shown: ShownCell, url: str, change: Any, state_of_cell: str) -> None:
    change(shown)
    (cell,) = (await state(url))["cells"]
    assert cell["state"] == state_of_cell


async def test_nothing_is_looked_at_without_a_reader(
    shown: ShownCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    containers = shown.executor.containers

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return containers()

    monkeypatch.setattr(shown.executor, "containers", counted)
    board_feed = feed.Feed(CellSource(shown.cell), linger_s=0.0)
    async with board_feed.running():
        await asyncio.sleep(0)
        assert looks == 0
        async with board_feed.reader():
            await board_feed.board.complete.wait()
            assert looks > 0
        await until(lambda: not board_feed.board.complete.is_set(), "an empty board")


async def test_trouble_of_a_source_is_logged_and_passes(
    shown: ShownCell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed, "RETRY_S", 0.01)
    monkeypatch.setattr(shown.executor, "total_resources", lambda: 1 / 0)
    async with page_of(CellSource(shown.cell)) as url, events(f"{url}/feed") as told:
        await until(lambda: "page-source-failed" in caplog.messages)
        monkeypatch.undo()
        await until_event(told, "complete")


async def test_so_many_pages_and_no_more(shown: ShownCell, url: str) -> None:
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        for _ in range(feed.READERS_MOST):
            told = await stack.enter_async_context(events(f"{url}/feed"))
            await until_event(told, "hello")
        for path in ("/feed", "/state"):
            async with session.get(url + path) as response:
                assert response.status == 503
                assert (await response.json())["error"] == api.TOO_MANY
        await stack.aclose()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with session.get(f"{url}/state") as response:
                    if response.status == 200:
                        break


async def test_the_end_of_the_listener_ends_the_feeds(shown: ShownCell) -> None:
    application = web.Application()
    async with Page(CellSource(shown.cell)).mounted(application), aiohttp.ClientSession() as session:
        async with TestServer(application) as server:
            response = await session.get(server.make_url("/feed"))
            await response.content.readuntil(b"\n\n")
        async with asyncio.timeout(PATIENCE_S):
            await response.content.read()


# -- a container -----------------------------------------------------------------------------------------


async def test_a_container_with_steps_moments_and_lines(shown: ShownCell, url: str) -> None:
    guid = running_web(shown)
    shown.begin(guid, GROUP)
    shown.begin(guid, DOWNLOADS[0])
    shown.end(guid, DOWNLOADS[0], transferred_bytes=1234)
    shown.end(guid, PROGRAM, Outcome.FAILED, reason="Exited with status 3", exit_status=3)
    shown.log(guid, "one", "two\x1b[1m")
    shown.log(guid, "three", error=True)
    news = await container(url, guid)
    about = news["about"]
    assert (about["name"], about["state"], about["phase"]) == ("shop", "RUNNING", "running")
    steps = {row["path"]: row for row in news["steps"]}
    assert [row["kind"] for row in news["steps"]] == ["serial", "parallel", "download", "download", "run"]
    assert (steps[DOWNLOADS[0]]["state"], steps[DOWNLOADS[0]]["done"]) == ("succeeded", 1234)
    assert steps[DOWNLOADS[1]]["state"] == "waiting"
    assert (steps[PROGRAM]["exit"], steps[PROGRAM]["reason"]) == (3, "Exited with status 3")
    assert steps[PROGRAM]["label"] == "/app/start --port 8080"
    assert [moment["what"] for moment in news["moments"]] == [
        "reserved",
        "initializing",
        "created",
        "running",
    ]
    at = EPOCH_NS // 1_000_000
    assert news["lines"] == [
        [at, 0, "APP", "one", 0],
        [at, 0, "APP", "two\x1b[1m", 0],
        [at, 1, "APP", "three", 0],
    ]


async def test_secrets_of_a_container_are_not_shown(shown: ShownCell, url: str) -> None:
    guid = shown.reserve("web").guid
    shown.run(
        guid,
        SerialAction(
            actions=(
                DownloadAction(from_="https://store.test/bits?Signature=do-not-show", to="/app"),
                RunAction(path="curl", args=("https://me:do-not-show@store.test/",)),
            )
        ),
        image_password="do-not-show",
    )
    news = await container(url, guid)
    assert "do-not-show" not in json.dumps(news)
    assert [row["label"] for row in news["steps"]] == [
        "",
        "https://store.test/bits?... -> /app",
        "*REDACTED*",
    ]


async def test_a_container_is_followed_to_its_end(shown: ShownCell, url: str) -> None:
    guid = running_web(shown)
    async with events(f"{url}/containers/{guid}/feed") as told:
        await until_event(told, "news")
        shown.log(guid, "hello")
        news = await until_event(told, "news")
        assert [line[3] for line in news["lines"]] == ["hello"]
        assert "steps" not in news
        shown.log(guid, *(f"line {number}" for number in range(500)))
        news = await until_event(told, "news")
        assert (news["missing"], len(news["lines"])) == (300, 200)
        shown.end(guid, PROGRAM, exit_status=0)
        news = await until_event(told, "news")
        assert [row["path"] for row in news["steps"]] == [PROGRAM], "only what changed"
        shown.move(guid, run_result=RunResult(stopped=True))
        shown.crash(guid)
        shown.remove(guid)
        news = await until_event(told, "news", lambda data: data.get("about", {}).get("removed"))
        assert news["moments"][-1]["what"] == "removed"
    assert (await container(url, guid))["about"]["removed"], "its story remains"


async def test_an_unknown_container(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/containers/none") as response:
        assert response.status == 404
        assert await response.json() == {"error": api.NO_CONTAINER}
    async with events(f"{url}/containers/none/feed") as told:
        assert await until_event(told, "unknown") == {"why": api.NO_CONTAINER}


async def test_so_many_containers_and_no_more(
    shown: ShownCell, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "CONTAINERS_MOST", 1)
    guid = running_web(shown)
    async with aiohttp.ClientSession() as session, events(f"{url}/containers/{guid}/feed") as told:
        await until_event(told, "news")
        async with session.get(f"{url}/containers/{guid}/feed") as response:
            assert response.status == 503


async def test_a_thousand_changes_do_not_hold_the_loop(shown: ShownCell, url: str) -> None:
    """Other work has its turn all the time."""
    guids = [running_web(shown, index) for index in range(1000)]
    async with events(f"{url}/feed") as told:
        await until_event(told, "complete")
        for guid in guids:
            shown.move(guid, routable=False)
        turns = 0

        async def other_work() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other_work())
        seen: set[str] = set()
        while len(seen) < 1000:
            rows = await until_event(told, "rows", lambda data: "instances" in data["set"])
            seen |= {row["id"] for row in rows["set"]["instances"] if not row["routable"]}
        beside.cancel()
    assert turns > 15, "no turn of the page makes all rows"
