"""The page in a browser: each view, what changes while it is open, keys, colours, and texts of apps."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bbs.models.actions import RunAction
from cell.page.source import CellSource
from executor.steps.trace import Outcome
from tests.browser.conftest import OpenPage, browsing
from tests.support.shown_cells import DOWNLOADS, GROUP, PROGRAM, ShownCell, page_of
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

expect.set_options(timeout=PATIENCE_S * 1000)

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}&lt;b&gt;"
REPORT = {
    "container_guid": "gone-guid",
    "report": "CrashActualLRP",
    "stored": True,
    "attempts": 3,
    "answer": "connection refused",
    "next_attempt_in_s": 1.0,
}

CONTRASTS = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const shown = element.checkVisibility() && !element.closest("svg, dialog, noscript");
    if (!shown || !walker.currentNode.textContent.trim()) continue;
    const [one, other] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push(`${element.className}: ${walker.currentNode.textContent} ${ratio.toFixed(2)}`);
  }
  return low;
}
"""
"""Texts whose contrast is below the 4.5 of WCAG AA."""


def instance(shown: ShownCell, app: str, index: int = 0, *, name: str = "", guid: str = "") -> str:
    """A running instance."""
    guid = shown.reserve(app, index, guid=guid, allocated_at=time.time_ns()).guid
    shown.run(guid, name=name)
    shown.become_running(guid)
    return guid


def a_bit_of_everything(shown: ShownCell) -> str:
    """Rows of each kind and state; returns the guid of a running instance."""
    guid = instance(shown, "web", name="shop")
    for index in range(1, 30):
        instance(shown, "web", index, name="shop")
    shown.use(guid, 60 << 20, cpu=12.5)
    shown.crash(instance(shown, "api"), "APP/PROC/WEB: Exited with status 1")
    shown.run(shown.reserve("slow").guid)
    shown.reserve_task("migrate")
    shown.run("migrate")
    shown.become_running("migrate")
    shown.rep.waiting.append({**REPORT, "recorded_at": time.time() - 40})
    return guid


# -- views -----------------------------------------------------------------------------------------------


async def test_the_list_and_the_details_of_each_kind(shown: ShownCell, open_page: OpenPage) -> None:
    guid = a_bit_of_everything(shown)
    shown.begin(guid, GROUP)
    shown.begin(guid, DOWNLOADS[0])
    shown.end(guid, DOWNLOADS[0], transferred_bytes=3_400_000)
    shown.end(guid, PROGRAM, Outcome.FAILED, reason="Exited with status 3", exit_status=3)
    shown.log(guid, "\x1b[32mgreen\x1b[0m line", "\x07bell")
    async with open_page() as it:
        rows = it.page.locator("#list")
        for text in ("Needs attention", "cell-1", "healthy", "shop", "api", "migrate", "CrashActualLRP"):
            await expect(rows).to_contain_text(text)
        assert await it.text("#vitals li:nth-child(1)") == "30\ninstances run"
        await it.go(f"instance/{guid}")
        detail = it.page.locator("#detail")
        await expect(detail.locator("h2")).to_have_text("shop #0")
        for text in (
            "60 of 64 MB",
            "12.5 % of a core",
            "61001→8080",
            "10.255.0.7",
            "preloaded:busybox",
            guid,
        ):
            await expect(detail).to_contain_text(text)
        await expect(detail.locator(".steps li")).to_have_count(5)
        await expect(detail.locator(".steps li", has_text="app bits")).to_contain_text("3.2 MB")
        program = detail.locator(".steps li", has_text="/app/start --port 8080")
        await expect(program).to_contain_text("exit 3")
        await expect(program).to_contain_text("Exited with status 3")
        await expect(detail.locator(".story li")).to_have_count(4)
        await expect(detail.locator(".log .text")).to_have_text(["green line", "bell"])
        await it.go("app/web")
        await expect(detail).to_contain_text("30 running")
        await expect(detail.locator(".squares a")).to_have_count(30)
        await it.go("task/migrate")
        await expect(detail).to_contain_text("running on cell-1")
        await expect(detail.locator(".steps li")).to_have_count(5)
        await it.go("cell/cell-1")
        for text in ("of 250", "1 wait for the control plane", "does not answer", "writable"):
            await expect(detail).to_contain_text(text)
        await it.go("report/cell-1/gone-guid")
        for text in ("connection refused", "in the journal", "gone-guid"):
            await expect(detail).to_contain_text(text)
        await it.go("container/unheard-of")
        await expect(detail).to_contain_text("This process does not know the container")
        assert it.troubles == []


async def test_an_empty_cell_says_what_would_be_here(open_page: OpenPage) -> None:
    async with open_page() as it:
        for text in ("No instances are on this cell", "No Tasks are on this cell", "answered every report"):
            await it.until_text("#list", text)
        await it.until_text("#detail", "Nothing has started or ended yet")
        await it.page.locator("#filter").fill("nowhere")
        await it.until_text("#list", "Nothing matches “nowhere”.")


# -- changes ---------------------------------------------------------------------------------------------


async def test_an_instance_is_followed_from_its_start_over_its_crash(
    shown: ShownCell, open_page: OpenPage
) -> None:
    async with open_page() as it:
        guid = shown.reserve("web", allocated_at=time.time_ns()).guid
        await it.until_text("#list .row.app", "web")
        await it.go(f"instance/{guid}")
        await it.until_text("#detail .story", "Place reserved")
        shown.memories.stories.noted(guid, "pulling image busybox")
        await it.until_text("#detail .story", "pulling image busybox")
        shown.run(guid)
        shown.begin(guid, PROGRAM, time.time_ns())
        await expect(it.page.locator(".steps li[data-state=running]")).to_have_count(1)
        shown.become_running(guid)
        await it.until_text("#detail .story", "Healthy: it runs")
        await it.until_text("#detail .detail-head", "running on cell-1")
        shown.log(guid, "hello from the app")
        await it.until_text("#detail .log", "hello from the app")
        shown.end(
            guid, PROGRAM, Outcome.FAILED, at_ns=time.time_ns(), reason="Exited with status 7", exit_status=7
        )
        shown.crash(guid, "APP/PROC/WEB: Exited with status 7")
        await it.until_text("#detail .trouble", "Exited with status 7")
        await it.until_text("#list .row.problem", "Exited with status 7")
        await expect(it.page).to_have_title("(1) cell-1 · diego-cell")
        shown.remove(guid)
        await it.until_text("#detail .story", "Container destroyed")
        await expect(it.page.locator("#list .row.app:not([hidden])")).to_have_count(0)
        await it.page.keyboard.press("Escape")
        await it.until_text(".activity li", "crashed")
        await it.page.locator(".activity a", has_text="crashed").click()
        await it.until_text("#detail .log", "hello from the app")
        assert it.troubles == []


async def test_the_log_follows_its_end_until_its_reader_scrolls(
    shown: ShownCell, open_page: OpenPage
) -> None:
    guid = instance(shown, "web")
    at_end = "e => e.scrollHeight - e.scrollTop - e.clientHeight < 2"
    async with open_page() as it:
        await it.go(f"instance/{guid}")
        shown.log(guid, *(f"line {number}" for number in range(150)))
        await it.until_text(".log li:last-child", "line 149")
        log = it.page.locator(".log")
        await it.page.wait_for_function(f"({at_end})(document.querySelector('.log'))")
        await log.evaluate("e => { e.scrollTop = 0 }")
        await expect(it.page.locator(".follow")).to_have_attribute("aria-pressed", "false")
        shown.log(guid, "later")
        await it.until_text(".log li:last-child", "later")
        assert await log.evaluate("e => e.scrollTop") == 0
        await it.page.locator("#list").focus()
        await it.page.keyboard.press("f")
        await expect(it.page.locator(".follow")).to_have_attribute("aria-pressed", "true")
        assert await log.evaluate(at_end)
        shown.log(guid, *(f"flood {number}" for number in range(500)))
        await it.until_text(".log .remark", "300 lines are not shown")
        for number in range(6):
            shown.log(guid, *(f"more {number}.{line}" for line in range(199)), f"end {number}")
            await it.until_text(".log li:last-child", f"end {number}")
        await expect(it.page.locator(".log li")).to_have_count(1000)


async def test_a_lost_connection_is_said_and_comes_back(shown: ShownCell, browser: Browser) -> None:
    guid = instance(shown, "web")
    source = CellSource(shown.cell)
    async with AsyncExitStack() as first_server:
        url = await first_server.enter_async_context(page_of(source))
        async with browsing(browser, url) as it:
            await it.go(f"instance/{guid}")
            await it.until_text("#detail .story", "Healthy")
            await first_server.aclose()
            await it.until_text("#link", "No connection since")
            await expect(it.page.locator("body.stale")).to_have_count(1)
            shown.crash(guid, "Exited with status 9")
            async with page_of(source, port=int(url.rpartition(":")[2])):
                await it.until_text("#link", "Live")
                await it.until_text("#list .row.problem", "Exited with status 9")
                await it.until_text("#detail .story", "Exited with status 9")
                await expect(it.page.locator("body.stale")).to_have_count(0)


async def test_a_page_too_many_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_page() as it:
        await it.page.route(
            "**/feed",
            lambda route: route.fulfill(status=503, json={"error": "too many pages are open"}),
        )
        await it.page.goto("about:blank")
        await it.page.goto(it.url + "/")
        await it.until_text("#link", "too many pages are open")
        await it.page.unroute("**/feed")
        await it.until_text("#link", "Live")


# -- texts of apps ---------------------------------------------------------------------------------------


async def test_texts_of_apps_are_texts(shown: ShownCell, open_page: OpenPage) -> None:
    guid = shown.reserve(HOSTILE, guid=f"guid-{HOSTILE}", allocated_at=time.time_ns()).guid
    shown.run(guid, RunAction(path=HOSTILE, args=(HOSTILE,)), name=HOSTILE, root_fs=HOSTILE)
    shown.become_running(guid)
    shown.begin(guid, "action/run")
    shown.end(guid, "action/run", Outcome.FAILED, reason=HOSTILE, exit_status=1)
    shown.log(guid, HOSTILE, "\u202eright to left")
    shown.crash(guid, HOSTILE)
    shown.reserve_task("__proto__", allocated_at=time.time_ns())
    shown.reserve("constructor", guid="toString")
    shown.rep.waiting.append({**REPORT, "recorded_at": 1.0, "answer": HOSTILE})
    async with open_page() as it:
        rows = it.page.locator("#list")
        for text in (HOSTILE, "__proto__", "constructor"):
            await expect(rows).to_contain_text(text)
        for route in (f"instance/{guid}", f"container/{guid}", f"app/{HOSTILE}", "report/cell-1/gone-guid"):
            await it.go(route)
            await expect(it.page.locator("#detail")).to_contain_text(HOSTILE)
        await it.go(f"instance/{guid}")
        await expect(it.page.locator(".log .text").first).to_have_text(HOSTILE)
        await expect(it.page.locator(".steps .why")).to_have_text(HOSTILE)
        await it.page.locator("#filter").fill(HOSTILE)
        await expect(rows).to_contain_text(HOSTILE)
        await it.go(f"app/{HOSTILE}{HOSTILE}")
        await expect(it.page.locator("#detail")).to_contain_text("This app is gone")
        assert await it.page.locator("img, script:not([src]), b b, style").count() == 0
        assert it.troubles == []


async def test_the_policy_refuses_what_an_injection_would_need(open_page: OpenPage) -> None:
    async with open_page() as it:
        refused = await it.page.evaluate(
            """async () => {
              const name = async (work) => {
                try { await work(); return "allowed" } catch (error) { return error.name }
              };
              const element = document.createElement("p");
              return [
                await name(() => { element.innerHTML = "<b>x</b>" }),
                await name(() => { element.setAttribute("onclick", "1") }),
                await name(() => { document.createElement("script").textContent = "1" }),
                await name(() => fetch("http://127.0.0.1:9/")),
              ];
            }"""
        )
        assert refused == ["TypeError"] * 4
        await it.page.evaluate("() => document.body.setAttribute('style', 'color: rgb(1, 2, 3)')")
        assert await it.page.evaluate("() => getComputedStyle(document.body).color") != "rgb(1, 2, 3)"


# -- keys ------------------------------------------------------------------------------------------------


async def test_the_page_is_used_with_keys_alone(shown: ShownCell, open_page: OpenPage) -> None:
    a_bit_of_everything(shown)
    async with open_page() as it:
        keys, rows = it.page.keyboard, it.page.locator("#list")

        async def active() -> Any:
            return await rows.evaluate(
                "e => document.getElementById(e.getAttribute('aria-activedescendant'))?.innerText"
            )

        await keys.press("/")
        await keys.type("shop")
        await expect(rows.locator(".row.app:not([hidden])")).to_have_count(1)
        await keys.press("Enter")
        assert "shop" in await active()
        await keys.press("ArrowRight")
        await expect(rows.locator(".row.app:not([hidden])")).to_have_attribute("aria-expanded", "true")
        await keys.press("ArrowDown")
        await keys.press("j")
        assert "#1" in await active()
        await keys.press("Enter")
        await expect(it.page.locator("#detail h2")).to_have_text("shop #1")
        await keys.press("ArrowLeft")
        assert "shop" in await active()
        await keys.press("ArrowLeft")
        await expect(rows.locator(".row.instance:not([hidden])")).to_have_count(0)
        await keys.press("Escape")
        await expect(it.page.locator("#filter")).to_have_value("")
        await keys.press("Escape")
        await expect(it.page.locator("#detail h2")).to_have_text("What happened")
        await keys.press("End")
        assert "CrashActualLRP" in await active()
        await keys.press("Home")
        assert "cell-1" in await active()
        await keys.press("?")
        await expect(it.page.locator("#keys")).to_be_visible()
        await keys.press("Escape")
        await expect(it.page.locator("#keys")).to_be_hidden()
        await it.page.locator("#help").click()
        await expect(it.page.locator("#keys")).to_be_visible()
        await keys.press("Enter")
        await expect(it.page.locator("#keys")).to_be_hidden()
        await it.page.go_back()
        await expect(it.page.locator("#detail h2")).to_have_text("shop #1")


async def test_of_a_long_list_only_the_rows_in_sight_exist(shown: ShownCell, open_page: OpenPage) -> None:
    for index in range(300):
        shown.reserve("web", index, allocated_at=time.time_ns())
    async with open_page() as it:
        rows = it.page.locator("#list .row:not([hidden])")
        await it.page.locator("#list .row.app .twist").click()
        await rows.nth(30).wait_for()
        assert await rows.count() < 80
        await it.page.keyboard.press("End")
        await it.page.keyboard.press("ArrowUp")
        await expect(rows.filter(has_text="#299")).to_have_count(1)
        assert await rows.count() < 80
        assert await it.page.locator("#list").get_attribute("aria-rowcount") == "308"


# -- looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_has_contrast(shown: ShownCell, open_page: OpenPage, scheme: str) -> None:
    guid = a_bit_of_everything(shown)
    shown.log(guid, "out")
    shown.log(guid, "err", error=True)
    async with open_page(color_scheme=scheme) as it:
        background = await it.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (int(background.split("(")[1].split(",")[0]) < 128) is (scheme == "dark")
        for route in (f"instance/{guid}", "cell/cell-1", "app/api", "report/cell-1/gone-guid"):
            await it.go(route)
            await it.page.locator("#detail .facts").first.wait_for()
            assert await it.page.evaluate(CONTRASTS) == []


async def test_a_narrow_screen(shown: ShownCell, open_page: OpenPage) -> None:
    guid = a_bit_of_everything(shown)
    shown.begin(guid, PROGRAM)
    shown.log(guid, "x" * 500)
    async with open_page(viewport={"width": 390, "height": 844}) as it:
        overflow = "() => document.documentElement.scrollWidth - innerWidth"
        assert await it.page.evaluate(overflow) <= 0
        await expect(it.page.locator("#detail")).to_be_hidden()
        await it.page.locator(".row.app", has_text="shop").click()
        await expect(it.page.locator("#detail h2")).to_have_text("shop")
        await expect(it.page.locator("#list")).to_be_hidden()
        await it.go(f"instance/{guid}")
        await it.until_text("#detail .log", "xxx")
        assert await it.page.evaluate(overflow) <= 0
        assert await it.page.locator("#detail").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        await it.page.locator(".leave").click()
        await expect(it.page.locator("#list")).to_be_visible()
