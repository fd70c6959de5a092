"""Recorded completion callbacks: the same requests, and the same retries after the same answers.

``other-http/assets-and-callbacks`` holds them as a plain HTTP server saw them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aiohttp import web

from bbs.embedded.calls.callbacks import CALLBACK_TRIES, HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.controllers.tasks import callback_body
from bbs.models.codec import dumps
from bbs.models.task import Task, TaskDefinition
from tests.support.http import server_of
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire" / "other-http" / "assets-and-callbacks.json"
DOCUMENT = json.loads(GOLDEN.read_text())
RECORDS = [record for record in DOCUMENT["records"] if record["from"] == "bbs"]

OF_THE_LIBRARY = {"host", "user-agent", "accept", "accept-encoding"}
"""Headers of the HTTP library; the answer's body is not read."""


def compared(headers: dict[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name not in OF_THE_LIBRARY}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: str(record["name"]))
async def test_callbacks_are_the_recorded_ones(record: dict[str, Any]) -> None:
    asked, status = record["request"], int(record["response"]["status_line"].split()[1])
    body = base64.b64decode(asked["body_base64"])
    told = json.loads(body)
    task = Task(
        task_guid=told["task_guid"],
        failed=told["failed"],
        failure_reason=told["failure_reason"],
        result=told["result"],
        created_at=told["created_at"],
        task_definition=TaskDefinition(annotation=told["annotation"]),
    )
    arrived: list[tuple[str, str, bytes, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        data = await request.read()
        arrived.append((request.method, request.path, data, compared(dict(request.headers))))
        return web.Response(status=status)

    async with server_of(answer) as url, HTTPCallbacks(destinations=Destinations()) as callbacks:
        delivered = await callbacks.deliver(url + asked["path"], dumps(callback_body(task)))

    assert delivered is (status != 503)
    tries = 1 if delivered else CALLBACK_TRIES
    expected = (asked["method"], asked["path"], body, compared(dict(asked["headers"])))
    assert arrived == [expected] * tries
    assert record["times_seen"] % tries == 0


def test_refused_callbacks_come_in_rounds_of_as_many_tries() -> None:
    """All tries of a round follow each other at once; the next round is the convergence's."""
    times = DOCUMENT["retry_times"]["callback_503"]
    rounds = [times[start : start + CALLBACK_TRIES] for start in range(0, len(times), CALLBACK_TRIES)]
    assert [len(set(tries)) for tries in rounds] == [1] * len(rounds)
    assert len({tries[0] for tries in rounds}) == len(rounds)
