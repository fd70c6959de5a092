"""The HTTP listeners of a cell: admin (ping, evacuate) and network (auctioneer, BBS, operators).

Statuses, bodies and headers are those of the Go program: empty bodies for errors of handlers, plain text
for unknown paths and wrong methods, JSON without a declared type.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from bbs.models.guid import is_guid
from bbs.models.invalid import InvalidDocument
from bbs.serving.access import AccessRule
from bbs.serving.address import Address
from bbs.serving.bodies import whole_body
from bbs.serving.listener import serving
from bbs.serving.plaintext import PLAIN_TEXT, plain, plain_errors
from bbs.tracing import traced
from bbs.wire.routes import trace_id
from common.logsubject import about
from common.metrics import exposition
from common.metrics.instruments import Instruments
from executor.api import ExecutorAPI
from executor.errors import ContainerNotFound, ExecutorError
from rep import auction
from rep.bodies import read_work, to_body
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestFailed, RequestMetrics
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.state import CellIdentity, cell_state, container_metrics
from rep.updates import read_update

OUTCOMES_PATH = "/outcomes"
ORPHANS_PATH = "/orphans"
METRICS_PATH = "/metrics"
CANCEL_FAILED = "cancel-task.failed-deleting-container"
MAX_BODY_BYTES = 16 << 20
"""Limit of one request: work for about 40,000 instances."""

_READING = ("GET", "HEAD")
"""Methods of read requests, which are too frequent to log."""

Route = tuple[str, str, Handler]
"""Method, path, handler."""

logger = logging.getLogger(__name__)


class AdminRoutes:
    """Routes for scripts on the same machine."""

    def __init__(self, evacuation: EvacuationFlag, courier: Courier) -> None:
        self._evacuation = evacuation
        self._courier = courier

    def application(self, more: Iterable[Route] = ()) -> web.Application:
        """The listener's application. more: further routes."""
        return _application(
            [
                ("GET", "/ping", self.ping),
                ("POST", "/evacuate", self.evacuate),
                ("GET", OUTCOMES_PATH, self.outcomes),
                *more,
            ]
        )

    async def ping(self, request: web.Request) -> web.Response:
        """200 while the process runs; checks nothing else."""
        return _status(200)

    async def evacuate(self, request: web.Request) -> web.Response:
        """Start the evacuation; the response names the path to poll for its end."""
        await self._evacuation.begin()
        return web.Response(status=202, body=b'{"ping_path":"/ping"}', content_type="application/json")

    async def outcomes(self, request: web.Request) -> web.Response:
        """The reports that the BBS has not answered yet. The original has no such route."""
        return _json(self._courier.overview())


class OrphanRoutes:
    """Routes about containers that have no record, for operators. The original has no such routes."""

    def __init__(self, executor: ExecutorAPI) -> None:
        self._executor = executor

    def routes(self) -> list[Route]:
        """For the admin listener."""
        return [("GET", ORPHANS_PATH, self.overview), ("DELETE", f"{ORPHANS_PATH}/{{guid}}", self.remove)]

    async def overview(self, request: web.Request) -> web.Response:
        """The orphans, and the seconds until their removal."""
        orphans = self._executor.orphans()
        rows = [{"container_guid": guid, "removed_in_s": round(left, 3)} for guid, left in orphans.items()]
        return _json({"orphans": rows})

    async def remove(self, request: web.Request) -> web.Response:
        """Destroy an orphan; 404 if there is none of this guid, 500 if the engine fails."""
        guid = request.match_info["guid"]
        try:
            await self._executor.remove_orphan(guid)
        except ContainerNotFound:
            return _status(404)
        except ExecutorError as error:
            data = {"guid": guid, "error": str(error)}
            logger.error("failed-to-destroy-orphan", extra={"data": data})
            return plain(500, str(error))
        return _status(204)


class MetricsRoutes:
    """The route that Prometheus scrapes."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def routes(self) -> list[Route]:
        """For the admin listener."""
        return [("GET", METRICS_PATH, self.metrics)]

    async def metrics(self, request: web.Request) -> web.Response:
        """All metrics of the cell, in the text format that the request prefers."""
        page = await exposition.page(self._instruments, request.headers.get("Accept", ""))
        return web.Response(body=page.body, headers={"Content-Type": page.content_type})


@dataclass(slots=True, eq=False)
class NetworkRoutes:
    """Routes for the auctioneer, the BBS and operators."""

    identity: CellIdentity
    executor: ExecutorAPI
    evacuation: EvacuationFlag
    deletions: Deletions
    metrics: RequestMetrics
    ledger: Ledger

    def application(self) -> web.Application:
        """The listener's application."""
        instance = "/lrps/{process_guid:[^/]*}/instances/{instance_guid:[^/]*}"
        tracked = self._tracked
        return _application(
            [
                ("GET", "/state", tracked("State", self.state)),
                ("GET", "/container_metrics", tracked("ContainerMetrics", self.container_metrics)),
                ("POST", "/work", tracked("Perform", self.perform)),
                ("PUT", f"/v2{instance}", tracked("UpdateLRPInstance", self.update)),
                ("PUT", f"/v1{instance}", tracked("UpdateLRPInstance", self.update)),
                ("POST", f"/v1{instance}/stop", tracked("StopLRPInstance", self.stop)),
                ("POST", "/v1/tasks/{task_guid:[^/]*}/cancel", tracked("CancelTask", self.cancel)),
                ("POST", "/sim/reset", tracked("Reset", self.reset)),
            ]
        )

    async def state(self, request: web.Request) -> web.Response:
        """The cell's state; 503 with the same body when the engine's health check or the journal fails."""
        state = cell_state(self.identity, self.executor, evacuating=bool(self.evacuation))
        healthy = self.executor.healthy and not self.ledger.failure
        return _json(state.to_json(), 200 if healthy else 503)

    async def container_metrics(self, request: web.Request) -> web.Response:
        """The latest container metrics."""
        cell_id = self.identity.config.cell_id
        containers = self.executor.containers()
        return _json(container_metrics(cell_id, containers, self.executor.metrics()))

    async def perform(self, request: web.Request) -> web.Response:
        """Reserve the offered work that fits; respond with the rest."""
        async with whole_body(request) as body:
            work = read_work(body)
        config = self.identity.config
        admission = auction.admit(
            work,
            cell_id=config.cell_id,
            evacuating=bool(self.evacuation),
            remaining_memory_mb=self.executor.remaining_resources().memory_mb,
            proxy_allocation_mb=config.proxy_allocation_mb,
            stacks=self.identity.stacks,
            unreported=self.ledger,
        )
        refused = auction.perform(admission, self.executor, trace_id=trace_id(request.headers))
        self.metrics.count_auctioned("lrp", len(work.lrps), len(refused.lrps))
        self.metrics.count_auctioned("task", len(work.tasks), len(refused.tasks))
        return _json(refused.to_json())

    async def update(self, request: web.Request) -> web.Response:
        """Update routes or tags of a container."""
        async with whole_body(request) as body:
            update = read_update(body, _instance_guid(request))
        await self.executor.update(update, trace_id=trace_id(request.headers))
        return _status(202)

    async def stop(self, request: web.Request) -> web.Response:
        """Signal the container; waits for its creation or destruction in progress, not for its end."""
        guid = _instance_guid(request)
        await self.executor.stop(guid, trace_id=trace_id(request.headers))
        return _status(202)

    async def cancel(self, request: web.Request) -> web.Response:
        """Start to delete the task's container. Always 202, also for an unknown task or an invalid guid."""
        guid = request.match_info["task_guid"]
        if is_guid(guid):
            self.deletions.start(guid, CANCEL_FAILED, trace_id=trace_id(request.headers))
        return _status(202)

    async def reset(self, request: web.Request) -> web.Response:
        """Fails: only simulated cells have a reset."""
        logger.error("not-a-simulation-rep")
        return _status(500)

    def _tracked(self, kind: str, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse = _status(500)
            with traced(trace_id(request.headers)), about(_subject(request)), self.metrics.track(kind):
                try:
                    response = await handler(request)
                except InvalidDocument as error:
                    _refuse(kind, error)
                    response = _status(400)
                except (ExecutorError, auction.ForeignWork) as error:
                    _refuse(kind, error)
                if request.method not in _READING:
                    data = {"method": request.method, "request": request.path, "status": response.status}
                    logger.info("request.served", extra={"data": data})
                if response.status >= 400:
                    raise RequestFailed
            return response

        return handle


class ListenerStore(Protocol):
    """Keeps listening sockets beyond the end of the process, for the next one."""

    def take(self, name: str, address: Address) -> socket.socket | None:
        """The socket of the previous process, if it has this address."""
        ...

    def keep(self, name: str, sockets: Sequence[socket.socket]) -> None: ...


@asynccontextmanager
async def listening(
    application: web.Application,
    address: str,
    tls: ssl.SSLContext | None,
    *,
    hosts: Collection[str] = (),
    name: str = "",
    store: ListenerStore | None = None,
) -> AsyncIterator[Address]:
    """Serve while inside; yields the bound address. Raises OSError, ValueError for a bad address.

    hosts: extra host names accepted without TLS, next to the listener's address and ``localhost``. store: may
    have the socket of the previous process, by name, and receives the socket.
    """
    parsed = Address.parse(address)
    access = AccessRule(hosts={name.lower() for name in (parsed.host, *hosts)})
    kept = store.take(name, parsed) if store else None
    async with serving(application, kept or (parsed.host, parsed.port), tls, access=access) as server:
        if store:
            store.keep(name, server.sockets)
        bound = server.sockets[0].getsockname()
        yield Address(bound[0], bound[1])


def _application(routes: Iterable[Route]) -> web.Application:
    application = web.Application(middlewares=[plain_errors], client_max_size=MAX_BODY_BYTES)
    for method, path, handler in routes:
        application.router.add_route(method, path, handler)
    application.on_response_prepare.append(_trim_headers)
    return application


async def _trim_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)
    if response.content_length == 0:
        response.headers.popall("Content-Type", None)


def _status(status: int) -> web.Response:
    return web.Response(status=status, body=b"")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=to_body(value), headers={"Content-Type": PLAIN_TEXT})


def _subject(request: web.Request) -> str:
    """The guid of the container that a request is about; empty if it is about none."""
    named = request.match_info.get("instance_guid") or request.match_info.get("task_guid") or ""
    return named if is_guid(named) else ""


def _instance_guid(request: web.Request) -> str:
    """The container guid in the request path.

    Raises InvalidDocument for an empty guid, ContainerNotFound for a malformed one.
    """
    for part in ("process_guid", "instance_guid"):
        if not request.match_info[part]:
            raise InvalidDocument("$", f"a {part} in the path", f"{part} missing from request")
        if not is_guid(request.match_info[part]):
            raise ContainerNotFound
    return request.match_info["instance_guid"]


def _refuse(kind: str, error: Exception) -> None:
    logger.error("request-failed", extra={"data": {"request-type": kind, "error": str(error)}})
