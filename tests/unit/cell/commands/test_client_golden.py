"""Commands of cfdot: the same requests, and the same output for recorded answers."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.message import Message

from bbs.models.codec import compact, parse
from bbs.wire import routes
from bbs.wire.proto.cell_pb2 import CellsResponse
from bbs.wire.proto.desired_lrp_requests_pb2 import DesireLRPRequest
from bbs.wire.routes import Route
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.cell.conftest import ScriptedBBS, Shell

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "wire"
RECORDED: dict[str, dict[str, Any]] = {
    command["name"]: command
    for command in json.loads((GOLDEN / "cfdot" / "commands.json").read_text())["commands"]
}
ROUTES = {route.path: route for route in vars(routes).values() if isinstance(route, Route)}

SMALL, NONE = "golden-cf-small", "golden-none"

SAME: dict[str, list[str]] = {
    "set-domain": ["domains", "--set", "golden", "--ttl", "1h"],
    "set-domain-forever": ["domains", "--set", "golden-forever"],
    "set-domain-short": ["domains", "--set", "golden-forever", "--ttl", "1s"],
    "domains": ["domains"],
    "cells": ["cells"],
    "cells-none": ["cells"],
    "cell": ["cells", "cell-ref-0"],
    "cell-missing": ["cells", "nope"],
    "cell-state": ["cells", "cell-ref-0", "--state"],
    "cell-state-missing": ["cells", "nope", "--state"],
    "cell-states": ["cells", "--state"],
    "cell-states-none": ["cells", "--state"],
    "desired-lrps": ["lrps", "--desired", "-d", "golden"],
    "desired-lrps-empty": ["lrps", "--desired", "-d", "golden-none"],
    "desired-lrp": ["lrps", "--desired", "golden-cf"],
    "desired-lrp-missing": ["lrps", "--desired", NONE],
    "actual-lrps": ["lrps", "-d", "golden"],
    "actual-lrps-empty": ["lrps", "-d", "golden-none"],
    "actual-lrps-by-cell": ["lrps", "-c", "cell-ref-0", "-d", "golden"],
    "actual-lrps-by-guid-index": ["lrps", "golden-cf", "-i", "0"],
    "create-desired-lrp-full": ["desire", "FILE"],
    "create-desired-lrp": ["desire", "FILE"],
    "create-desired-lrp-exists": ["desire", "FILE"],
    "update-desired-lrp-instances": ["scale", SMALL, "2"],
    "update-desired-lrp-missing": ["scale", NONE, "1"],
    "retire-actual-lrp": ["stop", SMALL, "0"],
    "retire-actual-lrp-missing": ["stop", NONE, "0"],
    "delete-desired-lrp": ["delete", SMALL],
    "delete-desired-lrp-full": ["delete", "golden-cf"],
    "delete-desired-lrp-missing": ["delete", NONE],
    "create-task": ["task", "FILE"],
    "create-task-exists": ["task", "FILE"],
    "create-task-2": ["task", "FILE"],
    "task-pending-or-running": ["tasks", "golden-cf-task"],
    "task-completed": ["tasks", "golden-cf-task"],
    "task-missing": ["tasks", NONE],
    "tasks": ["tasks", "-d", "golden"],
    "tasks-empty": ["tasks", "-d", "golden-none"],
    "tasks-by-cell": ["tasks", "-c", "cell-ref-0"],
    "cancel-task": ["stop", "--task", "golden-cf-task2"],
    "cancel-task-completed": ["stop", "--task", "golden-cf-task"],
    "cancel-task-missing": ["stop", "--task", NONE],
    "delete-task": ["delete", "--task", "golden-cf-task"],
    "delete-task-2": ["delete", "--task", "golden-cf-task2"],
    "delete-task-too-early": ["delete", "--task", "golden-cf-task"],
    "delete-task-missing": ["delete", "--task", NONE],
}
"""Recorded command -> ours. FILE stands for a file with the document cfdot was given."""


SINCE_THE_RECORDING = {
    "volume_mounted_files": None,
    "update_strategy": 0,
    "dedicated": None,
    "annotations": None,
}
"""Keys that today's cfdot writes also for empty values, and the recorded one does not."""


def _as_recorded(value: Any) -> Any:
    if isinstance(value, dict):
        known = {key: _as_recorded(item) for key, item in value.items()}
        return {k: v for k, v in known.items() if (k, v) not in SINCE_THE_RECORDING.items()}
    return [_as_recorded(item) for item in value] if isinstance(value, list) else value


def _printed(lines: list[str]) -> list[Any]:
    return [_as_recorded(json.loads(line)) for line in lines]


def _message(path: str, body: bytes) -> Message | bytes:
    """Decoded, because the order of map entries and the spacing of route data are free."""
    if path not in ROUTES:
        return body
    message: Message = ROUTES[path].request.FromString(body)
    if isinstance(message, DesireLRPRequest):
        routers = message.desired_lrp.routes.routes
        for router in list(routers):
            routers[router] = compact(parse(routers[router])).encode()
    return message


def _reply(record: dict[str, Any], url: str) -> bytes:
    body = base64.b64decode(record["response"]["body_base64"])
    if record["request"]["path"] != routes.CELLS.path:
        return body
    response = CellsResponse.FromString(body)
    for cell in response.cells:
        cell.rep_url = url  # the scripted server is the rep as well
    return response.SerializeToString()


@pytest.mark.parametrize("name", SAME)
def test_output_requests_and_exit_status(name: str, bbs: ScriptedBBS, shell: Shell, tmp_path: Path) -> None:
    recorded = RECORDED[name]
    document = tmp_path / "document.json"
    document.write_text(recorded["argv"][-1])
    for record in recorded["records"]:
        bbs.answer(_reply(record, bbs.url))
    ended = shell(*(str(document) if word == "FILE" else word for word in SAME[name]), "--bbs-url", bbs.url)

    assert ended.status == recorded["exit_status"]
    expected = [json.loads(line) for line in recorded["stdout"].splitlines()]
    if name in ("cells", "cell"):
        expected = [{**cell, "rep_url": bbs.url} for cell in expected]
    assert _printed(ended.lines) == expected
    assert ended.stderr == recorded["stderr"]
    assert [(asked.method, asked.path, _message(asked.path, asked.body)) for asked in bbs.asked] == [
        (
            record["request"]["method"],
            record["request"]["path"],
            _message(record["request"]["path"], base64.b64decode(record["request"]["body_base64"])),
        )
        for record in recorded["records"]
    ]


@pytest.mark.parametrize(
    ("name", "ours"),
    {
        "create-desired-lrp-not-json": ["desire", "FILE"],
        "create-desired-lrp-no-args": ["desire"],
        "retire-actual-lrp-bad-index": ["stop", SMALL, "x"],
    }.items(),
)
def test_bad_arguments_ask_nothing(
    name: str, ours: list[str], bbs: ScriptedBBS, shell: Shell, tmp_path: Path
) -> None:
    document = tmp_path / "document.json"
    document.write_text(RECORDED[name]["argv"][-1])
    ended = shell(*(str(document) if word == "FILE" else word for word in ours), "--bbs-url", bbs.url)
    assert (ended.status, bbs.asked) == (RECORDED[name]["exit_status"], [])
    assert "rror:" in ended.stderr


STREAMS = {
    "lrps": (["--lrps"], "events-lrp_instances.r1.json", "cfdot.lrp-events.exclude-groups.jsonl"),
    "lrps of a cell": (
        ["--lrps", "--cell", "cell-ref-0"],
        "events-lrp_instances.r1.cell-filter.json",
        "cfdot.lrp-events.cell-filter.jsonl",
    ),
    "tasks": (["--tasks"], "events-tasks.r1.json", "cfdot.task-events.jsonl"),
}
GROUPS = ("actual_lrp_created", "actual_lrp_changed", "actual_lrp_removed")
"""cfdot also follows the older stream of groups by default."""


@pytest.mark.parametrize("case", STREAMS)
def test_events(case: str, bbs: ScriptedBBS, shell: Shell) -> None:
    options, stream, printed = STREAMS[case]
    recorded = json.loads((GOLDEN / "events" / "life" / stream).read_text())
    path = recorded["request"]["request_line"].split()[1]
    bbs.stream(path, base64.b64decode(recorded["response"]["raw_body_base64"]))
    ended = shell("events", *options, "--bbs-url", bbs.url)
    expected = [
        event
        for event in map(json.loads, (GOLDEN / "events" / "life" / printed).read_text().splitlines())
        if event["type"] not in GROUPS
    ]
    assert ended.status == 0
    assert len(ended.lines) > 1
    assert _printed(ended.lines) == expected


@pytest.mark.parametrize("name", ["locks", "presences", "locks-with-claim", "presences-none"])
def test_what_locket_holds(name: str, shell: Shell) -> None:
    recorded = RECORDED[name]
    (record,) = recorded["records"]
    reply = base64.b64decode(record["response"]["body_base64"])
    asked: list[tuple[str, bytes]] = []

    def fetch_all(request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append(("FetchAll", request))
        return reply

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"FetchAll": grpc.unary_unary_rpc_method_handler(fetch_all)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("models.Locket", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        ended = shell(recorded["argv"][1], "--locket-address", f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()
    assert (ended.status, ended.stderr, len(asked)) == (0, "", 1)
    assert _printed(ended.lines) == [json.loads(line) for line in recorded["stdout"].splitlines()]
