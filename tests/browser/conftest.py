"""Chromium, and pages of scripted cells in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from cell.page.source import CellSource, Source
from tests.support.shown_cells import ShownCell, page_of
from tests.support.waiting import PATIENCE_S

WIDE = {"width": 1440, "height": 860}


@dataclass
class Opened:
    """A page in the browser. troubles: what it logged, and dialogs; most tests expect none."""

    page: Page
    url: str
    troubles: list[str] = field(default_factory=list)

    async def go(self, route: str) -> None:
        """Follow a route of the page: kind and id."""
        kind, _, target = route.partition("/")
        follow = "([kind, id]) => { location.hash = `${kind}/${encodeURIComponent(id)}` }"
        await self.page.evaluate(follow, [kind, target])

    async def text(self, selector: str) -> str:
        return await self.page.locator(selector).inner_text()

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        await self.page.locator(selector, has_text=text).first.wait_for()


OpenPage = Callable[..., AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def browsing(browser: Browser, url: str, **context: Any) -> AsyncIterator[Opened]:
    """The page at a URL, once it shows all rows. context: of Playwright."""
    opened = await browser.new_context(**{"viewport": WIDE, **context})
    opened.set_default_timeout(PATIENCE_S * 1000)
    try:
        page = await opened.new_page()
        it = Opened(page, url)
        page.on("console", lambda message: it.troubles.append(message.text))
        page.on("pageerror", lambda error: it.troubles.append(str(error)))
        page.on("dialog", lambda dialog: it.troubles.append(f"dialog: {dialog.message}"))
        await page.goto(f"{url}/")
        await page.locator("body.complete").wait_for()
        yield it
    finally:
        await opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium. As root it has no sandbox of its own."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("no Chromium: run scripts/setup --tests")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=options)
        yield running
        await running.close()


@pytest.fixture
def shown() -> ShownCell:
    return ShownCell()


@pytest.fixture
def open_page(browser: Browser, shown: ShownCell) -> OpenPage:
    """Opens the page of a source, by default of ``shown``."""

    @asynccontextmanager
    async def opened(source: Source | None = None, **context: Any) -> AsyncIterator[Opened]:
        async with page_of(source or CellSource(shown.cell)) as url, browsing(browser, url, **context) as it:
            yield it

    return opened
