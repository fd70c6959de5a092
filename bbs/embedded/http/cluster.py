"""Handlers of cluster calls: ping, domains, cells."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from bbs.embedded.clock import SECOND
from bbs.embedded.http.calls import Controllers, Served
from bbs.embedded.store.limits import check_guid
from bbs.models.validation import check, validate_upsert_domain_request
from bbs.wire import routes
from bbs.wire.mapping import to_wire
from bbs.wire.proto import cell_pb2, domain_pb2


async def ping(controllers: Controllers, request: Empty, _: str) -> domain_pb2.PingResponse:
    return domain_pb2.PingResponse(available=True)


async def domains(controllers: Controllers, request: Empty, _: str) -> domain_pb2.DomainsResponse:
    now = controllers.deps.clock.wall()
    fresh = await controllers.deps.store.run(lambda tables: tables.fresh_domains(now))
    return domain_pb2.DomainsResponse(domains=fresh)


async def upsert_domain(
    controllers: Controllers, request: domain_pb2.UpsertDomainRequest, _: str
) -> domain_pb2.UpsertDomainResponse:
    check(validate_upsert_domain_request(request.domain))
    check_guid(request.domain)
    expires_at = controllers.deps.clock.wall() + request.ttl * SECOND if request.ttl else None
    await controllers.deps.store.run(lambda tables: tables.upsert_domain(request.domain, expires_at))
    return domain_pb2.UpsertDomainResponse()


async def list_cells(controllers: Controllers, request: Empty, _: str) -> cell_pb2.CellsResponse:
    known = controllers.deps.registry.cells()
    return cell_pb2.CellsResponse(cells=[to_wire(cell) for cell in known.values()])


ROUTES = (
    Served(routes.PING, ping),
    Served(routes.DOMAINS, domains),
    Served(routes.UPSERT_DOMAIN, upsert_domain),
    Served(routes.CELLS, list_cells),
)
