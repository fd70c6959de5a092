"""Handlers of ``/v1/cells`` and ``/v1/domains``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.answers import INVALID_DOMAIN, INVALID_REQUEST, ReceptorError, invalid, translate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.receptor import write_cell
from bbs.models.text import whole_number

DIRECTIVE: Final = "max-age="
FOREVER_S: Final = 0
LONGEST_S: Final = 2**32 - 1


class CellHandlers:
    """Handlers of the cell and domain routes."""

    def __init__(self, bbs: BBSClient) -> None:
        self._bbs = bbs

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/cells", self.cells, allow_head=False),
            web.get("/v1/domains", self.domains, allow_head=False),
            web.put("/v1/domains/{domain}", self.upsert_domain),
        ]

    async def cells(self, request: web.Request) -> web.Response:
        cells = await self._bbs.cells(trace_id=answers.trace_id(request))
        return answers.json_answer([write_cell(cell) for cell in cells])

    async def domains(self, request: web.Request) -> web.Response:
        return answers.json_answer(await self._bbs.domains(trace_id=answers.trace_id(request)))

    async def upsert_domain(self, request: web.Request) -> web.Response:
        ttl_s = time_to_live(request.headers.getall("Cache-Control", []))
        try:
            await self._bbs.upsert_domain(
                answers.in_path(request, "domain"), ttl_s, trace_id=answers.trace_id(request)
            )
        except BBSError as error:
            refused = invalid(INVALID_DOMAIN, error)
            raise translate(
                error, {ErrorType.InvalidRequest: refused, ErrorType.InvalidRecord: refused}
            ) from error
        return answers.empty(204)


def time_to_live(cache_control: list[str]) -> int:
    """TTL of a domain in seconds; without a header the domain never expires.

    A header counts only if it starts with the directive. Raises ReceptorError.
    """
    if not cache_control:
        return FOREVER_S
    given = next((value for value in cache_control if value.startswith(DIRECTIVE)), None)
    if given is None:
        raise ReceptorError(400, INVALID_REQUEST, "max-age directive missing from request")
    seconds = whole_number(given.removeprefix(DIRECTIVE), LONGEST_S)
    if seconds is None:
        raise ReceptorError(400, INVALID_REQUEST, f"invalid-max-age-directive: {given}")
    return seconds
