"""The page of a control plane, on a listener of its own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from bbs.embedded.service import BBS
from bbs.serving.access import AccessRule
from bbs.serving.address import Address, listening
from bbs.serving.listener import serving
from cell.page.api import Page
from cell.page.control import ControlSource
from cell.story.tails import Tails


@asynccontextmanager
async def control_page(
    bbs: BBS, address: Address, hosts: Sequence[str], tails: Tails | None = None
) -> AsyncIterator[tuple[str, ControlSource]]:
    """Serve the page; yields its URL, and what it shows. Raises ListenError.

    hosts: accepted host names. tails: the app logs of cells of other processes, None if they go elsewhere.
    """
    shown = ControlSource(bbs, socket.gethostname(), tails)
    application = web.Application()
    with listening(address, "the page") as bound:
        async with (
            Page(shown).mounted(application),
            serving(application, bound, cancel_on_disconnect=True, access=AccessRule(hosts=hosts)),
        ):
            yield Address(address.host, bound.getsockname()[1]).url() + "/", shown
