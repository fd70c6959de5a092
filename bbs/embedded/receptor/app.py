"""The Receptor application: handlers, access control, and the small routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from bbs.client.api import BBSClient
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.access import (
    Credentials,
    allow_origin,
    auth_cookie,
    authentication,
    preflight,
)
from bbs.embedded.receptor.actual_lrps import ActualLRPHandlers
from bbs.embedded.receptor.answers import error_answers
from bbs.embedded.receptor.cells import CellHandlers
from bbs.embedded.receptor.desired_lrps import DesiredLRPHandlers
from bbs.embedded.receptor.events import EventStreams
from bbs.embedded.receptor.tasks import TaskHandlers

VERSION_KEYS: Final = (
    "cf_release",
    "cf_routing_release",
    "diego_release",
    "garden_linux_release",
    "lattice_release",
    "lattice_release_image",
    "ltc",
    "receptor",
)

MAX_BODY_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptorConfig:
    """Configuration of the Receptor API.

    credentials: None allows every client.
    cors: answer cross-origin browser requests.
    artifacts_dir: folder with the files of ``/v1/sync/ARCH/NAME`` as ``ARCH/NAME``; None serves none.
    versions: values of the version object by key; others are empty.
    """

    credentials: Credentials | None = None
    cors: bool = False
    artifacts_dir: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def receptor_app(bbs: BBSClient, config: ReceptorConfig) -> web.Application:
    """The Receptor API over a BBS."""
    middlewares: list[Middleware] = [error_answers]
    if config.cors:
        middlewares.append(preflight)
    if config.credentials is not None:
        middlewares.append(authentication(config.credentials))
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    if config.cors:
        app.on_response_prepare.append(allow_origin)

    streams = EventStreams(bbs)
    app.on_shutdown.append(streams.close)
    for handlers in (
        TaskHandlers(bbs),
        DesiredLRPHandlers(bbs),
        ActualLRPHandlers(bbs),
        CellHandlers(bbs),
        streams,
        _Extras(config),
    ):
        app.add_routes(handlers.routes())
    return app


class _Extras:
    """Version, cookie and artifacts: the routes that need no BBS."""

    def __init__(self, config: ReceptorConfig) -> None:
        self._config = config

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/version", self.version, allow_head=False),
            web.post("/v1/auth_cookie", auth_cookie),
            web.get("/v1/sync/{arch}/{artifact}", self.artifact, allow_head=False),
        ]

    async def version(self, _: web.Request) -> web.Response:
        return answers.json_answer({key: self._config.versions.get(key, "") for key in VERSION_KEYS})

    async def artifact(self, request: web.Request) -> web.StreamResponse:
        parts = (request.match_info["arch"], request.match_info["artifact"])
        if self._config.artifacts_dir is None or any("/" in part or part == ".." for part in parts):
            raise web.HTTPNotFound
        file = self._config.artifacts_dir.joinpath(*parts)
        if not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file, headers={"Content-Type": "application/octet-stream"})
