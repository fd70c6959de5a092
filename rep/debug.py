"""The debug server: plain HTTP for an operator on the same machine.

GET ``/log-level`` returns the log level; POST or PUT sets it, by the name in the body. It stays until the
next change, reload or start. The original's profiler pages are not implemented.
"""

from __future__ import annotations

import logging

from aiohttp import web

from common.loglevels import LEVELS, UnknownLevel, current_level, set_level

LOG_LEVEL_PATH = "/log-level"

logger = logging.getLogger(__name__)


def debug_application() -> web.Application:
    """The listener's application."""
    application = web.Application(client_max_size=1024)
    application.router.add_get(LOG_LEVEL_PATH, _show)
    application.router.add_post(LOG_LEVEL_PATH, _change)
    application.router.add_put(LOG_LEVEL_PATH, _change)
    return application


async def _show(request: web.Request) -> web.Response:
    return web.Response(text=f"{current_level()}\n")


async def _change(request: web.Request) -> web.Response:
    name = (await request.read()).decode("ascii", "replace").strip().lower()
    before = current_level()
    try:
        set_level(name)
    except UnknownLevel:
        return web.Response(status=400, text=f"expected one of {', '.join(LEVELS)}, got {name!r}\n")
    logger.log(LEVELS[name], "log-level-changed", extra={"data": {"level": name, "before": before}})
    return web.Response()
