"""The debug server: plain HTTP for an operator on the same machine.

GET ``/log-level`` returns the log level; POST or PUT sets it, by the name in the body. The original's
profiler pages are not implemented.
"""

from __future__ import annotations

import logging

from aiohttp import web

LOG_LEVEL_PATH = "/log-level"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR, "fatal": logging.CRITICAL}

logger = logging.getLogger(__name__)


def debug_application(root: logging.Logger | None = None) -> web.Application:
    """root: the logger to inspect and change; by default the root logger of the process."""
    meant = root or logging.getLogger()

    async def show(request: web.Request) -> web.Response:
        names = [name for name, level in LEVELS.items() if level >= meant.getEffectiveLevel()]
        return web.Response(text=f"{names[0]}\n")

    async def change(request: web.Request) -> web.Response:
        name = (await request.read()).decode("ascii", "replace").strip().lower()
        if name not in LEVELS:
            return web.Response(status=400, text=f"expected one of {', '.join(LEVELS)}, got {name!r}\n")
        meant.setLevel(LEVELS[name])
        logger.info("log-level-changed", extra={"data": {"level": name}})
        return web.Response()

    application = web.Application(client_max_size=1024)
    application.router.add_get(LOG_LEVEL_PATH, show)
    application.router.add_post(LOG_LEVEL_PATH, change)
    application.router.add_put(LOG_LEVEL_PATH, change)
    return application
