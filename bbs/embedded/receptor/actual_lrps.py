"""Handlers of ``/v1/actual_lrps``, which shows one instance per index."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from bbs.client.api import BBSClient
from bbs.embedded.decisions.events import resolved, to_group
from bbs.embedded.decisions.rows import by_index
from bbs.embedded.receptor import answers
from bbs.embedded.receptor.answers import ACTUAL_LRP_INDEX_NOT_FOUND, INVALID_REQUEST, ReceptorError
from bbs.models.actual_lrp import ActualLRP
from bbs.models.errors import BBSError
from bbs.models.receptor import write_actual_lrp
from bbs.models.text import whole_number

LARGEST_INDEX: Final = 2**31 - 1

logger = logging.getLogger(__name__)


class ActualLRPHandlers:
    """Handlers of the actual LRP routes."""

    def __init__(self, bbs: BBSClient) -> None:
        self._bbs = bbs

    def routes(self) -> list[web.RouteDef]:
        one_index = "/v1/actual_lrps/{process_guid}/index/{index}"
        return [
            web.get("/v1/actual_lrps", self.list, allow_head=False),
            web.get("/v1/actual_lrps/{process_guid}", self.list_of_process, allow_head=False),
            web.get(one_index, self.get, allow_head=False),
            web.delete(one_index, self.retire),
        ]

    async def list(self, request: web.Request) -> web.Response:
        rows = await self._bbs.actual_lrps(
            domain=answers.domain_filter(request), trace_id=answers.trace_id(request)
        )
        return answers.json_answer([write_actual_lrp(lrp) for lrp in one_per_index(rows)])

    async def list_of_process(self, request: web.Request) -> web.Response:
        rows = await self._bbs.actual_lrps(
            process_guid=answers.in_path(request, "process_guid"), trace_id=answers.trace_id(request)
        )
        return answers.json_answer([write_actual_lrp(lrp) for lrp in one_per_index(rows)])

    async def get(self, request: web.Request) -> web.Response:
        lrp = await self._at_index(request)
        if lrp is None:
            return answers.json_answer(None, 404)
        return answers.json_answer(write_actual_lrp(lrp))

    async def retire(self, request: web.Request) -> web.Response:
        lrp = await self._at_index(request)
        if lrp is None:
            guid, index = answers.in_path(request, "process_guid"), _index(request)
            raise ReceptorError(
                404,
                ACTUAL_LRP_INDEX_NOT_FOUND,
                f"process-guid '{guid}' does not exist or has no instance at index {index}",
            )
        try:
            await self._bbs.retire_actual_lrp(lrp.actual_lrp_key, trace_id=answers.trace_id(request))
        except BBSError as error:
            logger.error(
                "failed-to-retire-actual-lrp",
                extra={
                    "data": {
                        "process-guid": lrp.actual_lrp_key.process_guid,
                        "index": lrp.actual_lrp_key.index,
                        "error": repr(error),
                    }
                },
            )
        return answers.empty(204)

    async def _at_index(self, request: web.Request) -> ActualLRP | None:
        rows = await self._bbs.actual_lrps(
            process_guid=answers.in_path(request, "process_guid"),
            index=_index(request),
            trace_id=answers.trace_id(request),
        )
        return next(iter(one_per_index(rows)), None)


def one_per_index(rows: Iterable[ActualLRP]) -> Iterable[ActualLRP]:
    """The resolved instance of each index."""
    shown = (resolved(to_group(index)) for index in by_index(rows).values())
    return [lrp for lrp in shown if lrp is not None]


def _index(request: web.Request) -> int:
    text = answers.in_path(request, "index")
    number = whole_number(text[1:] if text[:1] in ("+", "-") else text, LARGEST_INDEX)
    if number is None:
        raise ReceptorError(400, INVALID_REQUEST, "index not a number")
    return -number if text.startswith("-") else number
