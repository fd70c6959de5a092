"""The page with a thousand instances that all change all the time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from playwright.async_api import Browser, CDPSession, expect

from executor.model import Resources
from tests.browser.conftest import OpenPage
from tests.support.shown_cells import ShownCell
from tests.support.thorough import THOROUGH
from tests.support.waiting import PATIENCE_S

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not THOROUGH, reason="a thousand instances for seconds: in `make test-all`"),
]

MANY = 1000
ROUNDS = 12
ROUND_S = 0.25

MOST_TASK_MS = 80
"""Processor time of the longest task of the page: four times what it takes, because neighbours slow it."""
MOST_SHARE = 0.4
"""Share of a core."""


@pytest.fixture
def shown() -> ShownCell:
    crowded = ShownCell(total=Resources(memory_mb=10**6, disk_mb=10**6, containers=2 * MANY))
    for index in range(MANY):
        guid = crowded.reserve("web", index, allocated_at=time.time_ns()).guid
        crowded.run(guid, name="shop")
        crowded.become_running(guid)
    return crowded


async def change_all(shown: ShownCell) -> None:
    """Each instance changes in each round, as in an outage of what all of them need."""
    for number in range(ROUNDS):
        for index, guid in enumerate(list(shown.executor.store)):
            shown.move(guid, routable=(index + number) % 3 != 0)
        await asyncio.sleep(ROUND_S)


async def processor_s(session: CDPSession) -> float:
    """Processor time that the page has taken."""
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def tasks_ms(trace: bytes) -> list[float]:
    """Processor times of the tasks of the page's main thread."""
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    main = {
        (each["pid"], each["tid"])
        for each in events
        if each.get("name") == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return [
        each["tdur"] / 1000
        for each in events
        if str(each.get("name")).endswith("RunTask") and (each["pid"], each["tid"]) in main and "tdur" in each
    ]


@pytest.mark.parametrize("route", ["cell/cell-1", "app/web"])
async def test_a_thousand_changing_instances_do_not_hold_the_page(
    shown: ShownCell, open_page: OpenPage, browser: Browser, route: str
) -> None:
    async with open_page() as it:
        rows = it.page.locator("#list .row.instance:not([hidden])")
        await it.page.locator("#list .row.app .twist").click()
        await rows.first.wait_for()
        await it.go(route)
        await it.page.locator("#detail .facts").wait_for()
        session = await it.page.context.new_cdp_session(it.page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before, begun = await processor_s(session), time.monotonic()
        await browser.start_tracing(page=it.page, categories=["toplevel", "devtools.timeline"])
        await change_all(shown)
        trace = await browser.stop_tracing()
        share = (await processor_s(session) - before) / (time.monotonic() - begun)
        longest = max(tasks_ms(trace))
        print(f"longest task {longest:.0f} ms, {share:.0%} of a core")
        assert longest < MOST_TASK_MS
        assert share < MOST_SHARE
        assert await rows.count() < 100, "only rows in sight exist"
        await it.page.locator("#list").focus()
        await it.page.keyboard.press("End")
        await it.page.keyboard.press("Home")
        await it.page.locator("#filter").fill("web-999")
        await expect(rows).to_have_count(1, timeout=PATIENCE_S * 1000)
        assert it.troubles == []
