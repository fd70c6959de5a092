"""The Receptor API's routes, over a scripted BBS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bbs.client.api import BBSClient
from bbs.embedded.receptor.app import receptor_app
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPInstanceKey, ActualLRPKey, Presence
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import Task, TaskDefinition, TaskState

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]
RUN = {"run": {"path": "/x", "user": "vcap"}}
LRP_2015 = {"process_guid": "web", "domain": "d", "rootfs": "preloaded:a", "action": RUN, "start_timeout": 5}
TASK_2015 = {"task_guid": "t", "domain": "d", "rootfs": "preloaded:a", "action": RUN}
DESIRED = DesiredLRP(
    process_guid="web",
    domain="d",
    root_fs="preloaded:a",
    action=RunAction(path="/x", user="vcap"),
    start_timeout_ms=5500,
)
TASK = Task(
    task_guid="t",
    domain="d",
    state=TaskState.Completed,
    task_definition=TaskDefinition(root_fs="preloaded:a", action=RunAction(path="/x", user="vcap")),
)


def row(index: int = 0, state: str = "RUNNING", presence: Presence = Presence.ORDINARY) -> ActualLRP:
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid="web", index=index, domain="d"),
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=f"{presence.name}-{index}", cell_id="c"),
        state=state,
        presence=presence,
    )


@dataclass
class ScriptedBBS:
    """Answers by call name: a value, or a list of values and errors one after the other."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def script(self, name: str, *answers: Any) -> None:
        self.answers[name] = list(answers)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((name, args, kwargs))
            scripted = self.answers.get(name, [])
            answer = scripted.pop(0) if scripted else None
            if isinstance(answer, BBSError):
                raise answer
            return answer

        return call

    def called(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def args(self, name: str) -> tuple[Any, ...]:
        return next(args for called, args, _ in self.calls if called == name)

    def keywords(self, name: str) -> dict[str, Any]:
        return next(keywords for called, _, keywords in self.calls if called == name)


@pytest.fixture
def bbs() -> ScriptedBBS:
    return ScriptedBBS()


@pytest.fixture
async def client(bbs: ScriptedBBS) -> AsyncIterator[Client]:
    app = receptor_app(cast("BBSClient", bbs))
    async with TestClient(TestServer(app)) as test_client:
        yield test_client


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    content_type: str

    @property
    def error(self) -> tuple[int, str]:
        assert self.content_type == "application/json"
        return self.status, self.text


async def ask(client: Client, method: str, path: str, **kwargs: Any) -> Answer:
    async with client.request(method, path, **kwargs) as answer:
        return Answer(answer.status, await answer.text(), answer.content_type)


def error_body(name: str, message: str) -> str:
    return f'{{"name":"{name}","message":"{message}"}}'


NOT_FOUND = BBSError(ErrorType.ResourceNotFound)
EXISTS = BBSError(ErrorType.ResourceExists)
INVALID = BBSError(ErrorType.InvalidRequest, "Invalid field: rootfs")
CONFLICT = BBSError(ErrorType.ResourceConflict)
TRANSITION = BBSError(ErrorType.InvalidStateTransition, "Cannot transition from Pending to Resolving")
BROKEN = BBSError(ErrorType.Timeout, "the BBS is slow")

SUCCESSES: list[Any] = [
    ("POST", "/v1/tasks", TASK_2015, {}, 201, ""),
    ("GET", "/v1/tasks", None, {"tasks": []}, 200, "[]"),
    ("DELETE", "/v1/tasks/t", None, {}, 200, ""),
    ("POST", "/v1/tasks/t/cancel", None, {}, 200, ""),
    ("POST", "/v1/desired_lrps", LRP_2015, {}, 201, ""),
    ("GET", "/v1/desired_lrps", None, {"desired_lrps": []}, 200, "[]"),
    ("PUT", "/v1/desired_lrps/web", {"instances": 2}, {}, 204, ""),
    ("DELETE", "/v1/desired_lrps/web", None, {}, 204, ""),
    ("GET", "/v1/actual_lrps", None, {"actual_lrps": []}, 200, "[]"),
    ("GET", "/v1/actual_lrps/nope", None, {"actual_lrps": []}, 200, "[]"),
    ("DELETE", "/v1/actual_lrps/web/index/0", None, {"actual_lrps": [row()]}, 204, ""),
    ("GET", "/v1/cells", None, {"cells": []}, 200, "[]"),
    ("GET", "/v1/domains", None, {"domains": ["a", "b"]}, 200, '["a","b"]'),
    ("PUT", "/v1/domains/d", None, {}, 204, ""),
]


@pytest.mark.parametrize(("method", "path", "body", "scripted", "status", "text"), SUCCESSES)
async def test_successes(
    client: Client,
    bbs: ScriptedBBS,
    method: str,
    path: str,
    body: Any,
    scripted: dict[str, Any],
    status: int,
    text: str,
) -> None:
    for name, value in scripted.items():
        bbs.script(name, value)

    answer = await ask(client, method, path, json=body)

    assert (answer.status, answer.text) == (status, text)
    assert answer.content_type == "application/json"


UNKNOWN = (500, "UnknownError", BROKEN.message)
TASK_EXISTS = (409, "TaskGuidAlreadyExists", "task already exists")
NO_TRANSITION = (500, "UnknownError", TRANSITION.message)
NO_TASK = (404, "TaskNotFound", "task with guid 't' not found")
NO_LRP = (404, "DesiredLRPNotFound", "Desired LRP with guid 'web' not found")
LRP_EXISTS = (409, "DesiredLRPAlreadyExists", "Desired LRP with guid 'web' already exists")
LRP_CONFLICT = (500, "ResourceConflict", "Desired LRP with guid 'web' failed to update")
NOT_DELETABLE = (
    409,
    "TaskNotDeletable",
    "This task has not been completed. Please retry when it is completed.",
)

ONE_TASK, ONE_LRP = "/v1/tasks/t", "/v1/desired_lrps/web"
FAILURES: list[Any] = [
    (
        "POST",
        "/v1/tasks",
        TASK_2015,
        "desire_task",
        EXISTS,
        (409, "TaskGuidAlreadyExists", "task already exists"),
    ),
    ("POST", "/v1/tasks", TASK_2015, "desire_task", INVALID, (400, "InvalidTask", INVALID.message)),
    ("POST", "/v1/tasks", TASK_2015, "desire_task", BROKEN, UNKNOWN),
    ("GET", "/v1/tasks", None, "tasks", BROKEN, UNKNOWN),
    ("GET", ONE_TASK, None, "task", NOT_FOUND, NO_TASK),
    ("DELETE", ONE_TASK, None, "resolving_task", NOT_FOUND, NO_TASK),
    ("DELETE", ONE_TASK, None, "resolving_task", TRANSITION, NOT_DELETABLE),
    ("DELETE", ONE_TASK, None, "delete_task", BROKEN, UNKNOWN),
    ("POST", ONE_TASK + "/cancel", None, "cancel_task", NOT_FOUND, NO_TASK),
    (
        "POST",
        ONE_TASK + "/cancel",
        None,
        "cancel_task",
        TRANSITION,
        (500, "UnknownError", TRANSITION.message),
    ),
    ("POST", "/v1/desired_lrps", LRP_2015, "desire_lrp", EXISTS, LRP_EXISTS),
    ("POST", "/v1/desired_lrps", LRP_2015, "desire_lrp", INVALID, (400, "InvalidLRP", INVALID.message)),
    ("POST", "/v1/desired_lrps", LRP_2015, "desire_lrp", BROKEN, UNKNOWN),
    ("GET", "/v1/desired_lrps", None, "desired_lrps", BROKEN, UNKNOWN),
    ("GET", ONE_LRP, None, "desired_lrp", NOT_FOUND, NO_LRP),
    ("PUT", ONE_LRP, {}, "update_desired_lrp", NOT_FOUND, NO_LRP),
    ("PUT", ONE_LRP, {}, "update_desired_lrp", INVALID, (500, "UnknownError", INVALID.message)),
    ("DELETE", ONE_LRP, None, "remove_desired_lrp", NOT_FOUND, NO_LRP),
    ("GET", "/v1/actual_lrps", None, "actual_lrps", BROKEN, UNKNOWN),
    ("GET", "/v1/cells", None, "cells", BROKEN, UNKNOWN),
    ("GET", "/v1/domains", None, "domains", BROKEN, UNKNOWN),
    ("PUT", "/v1/domains/d", None, "upsert_domain", INVALID, (400, "InvalidDomain", INVALID.message)),
    ("PUT", "/v1/domains/d", None, "upsert_domain", BROKEN, UNKNOWN),
    ("GET", "/v1/events", None, "lrp_group_events", BROKEN, UNKNOWN),
]


@pytest.mark.parametrize(("method", "path", "body", "call", "error", "expected"), FAILURES)
async def test_errors_of_the_bbs(
    client: Client,
    bbs: ScriptedBBS,
    method: str,
    path: str,
    body: Any,
    call: str,
    error: BBSError,
    expected: tuple[int, str, str],
) -> None:
    if call == "lrp_group_events":
        bbs.__dict__[call] = lambda: _Refusing(error)
    bbs.script(call, error)

    answer = await ask(client, method, path, json=body)

    status, name, message = expected
    assert answer.error == (status, error_body(name, message))


class _Refusing:
    """A subscription that fails."""

    def __init__(self, error: BBSError) -> None:
        self._error = error

    async def __aenter__(self) -> None:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("path", "body", "name", "where"),
    [
        ("/v1/tasks", "{nope", "InvalidJSON", "line 1 column 2"),
        ("/v1/tasks", "", "InvalidJSON", "line 1 column 1"),
        ("/v1/tasks", "[]", "InvalidJSON", "expected an object"),
        ("/v1/tasks", '{"rootfs":"a:b","action":{"run":{"path":7}}}', "InvalidJSON", "$.action.run.path"),
        ("/v1/tasks", '{"task_guid":"t","rootfs":"a:b"}', "InvalidTask", "$.action"),
        ("/v1/tasks", '{"task_guid":"t"}', "InvalidTask", "$.rootfs"),
        ("/v1/desired_lrps", '{"a":1,}', "InvalidJSON", "line 1 column"),
        ("/v1/desired_lrps", '{"instances":"many"}', "InvalidLRP", "$.process_guid"),
        (
            "/v1/desired_lrps",
            '{"process_guid":"p","domain":"d","rootfs":"a:b","action":{"run":{}},"ports":[70000]}',
            "InvalidJSON",
            "$.ports[0]",
        ),
        ("/v1/desired_lrps", '{"process_guid":"p","rootfs":"a:b"}', "InvalidLRP", "$.domain"),
    ],
)
async def test_bodies_that_cannot_be_read_name_the_place(
    client: Client, bbs: ScriptedBBS, path: str, body: str, name: str, where: str
) -> None:
    answer = await ask(client, "POST", path, data=body)

    assert answer.status == 400
    assert f'"name":"{name}"' in answer.text
    assert where in answer.text
    assert bbs.calls == []


async def test_an_unreadable_update(client: Client, bbs: ScriptedBBS) -> None:
    answer = await ask(client, "PUT", "/v1/desired_lrps/web", data='{"instances":"x"}')

    assert (answer.status, "InvalidJSON" in answer.text, "$.instances" in answer.text) == (400, True, True)


async def test_a_desired_lrp_of_2015_reaches_the_bbs_in_todays_form(client: Client, bbs: ScriptedBBS) -> None:
    await ask(client, "POST", "/v1/desired_lrps", json=LRP_2015, headers={"X-Vcap-Request-Id": "trace"})

    (lrp,) = bbs.args("desire_lrp")
    assert (lrp.process_guid, lrp.start_timeout_ms) == ("web", 5000)
    assert lrp.metric_tags["source_id"].static == "web"
    assert bbs.keywords("desire_lrp") == {"trace_id": "trace"}


async def test_todays_form_is_taken_as_well(client: Client, bbs: ScriptedBBS) -> None:
    today = LRP_2015 | {"start_timeout_ms": 1234, "metric_tags": {"source_id": {"static": "web"}}}
    today.pop("start_timeout")

    assert (await ask(client, "POST", "/v1/desired_lrps", json=today)).status == 201

    assert bbs.args("desire_lrp")[0].start_timeout_ms == 1234


async def test_a_task_reaches_the_bbs(client: Client, bbs: ScriptedBBS) -> None:
    await ask(client, "POST", "/v1/tasks", json=TASK_2015)

    guid, domain, definition = bbs.args("desire_task")
    assert (guid, domain) == ("t", "d")
    assert definition.action == RunAction(path="/x", user="vcap")


async def test_answers_are_in_the_form_of_2015(client: Client, bbs: ScriptedBBS) -> None:
    bbs.script("desired_lrp", DESIRED)
    bbs.script("task", TASK)

    desired = (await ask(client, "GET", "/v1/desired_lrps/web")).text
    task = (await ask(client, "GET", "/v1/tasks/t")).text

    assert '"start_timeout":5' in desired
    assert '"setup":null' in desired
    assert '"state":"COMPLETED"' in task


async def test_lists_filter_by_domain(client: Client, bbs: ScriptedBBS) -> None:
    for path, call in (("tasks", "tasks"), ("desired_lrps", "desired_lrps"), ("actual_lrps", "actual_lrps")):
        bbs.script(call, [])
        await ask(client, "GET", f"/v1/{path}?domain=cf-apps")
        assert bbs.keywords(call) == {"domain": "cf-apps", "trace_id": ""}


async def test_only_the_given_keys_are_updated(client: Client, bbs: ScriptedBBS) -> None:
    body = {"annotation": "n", "routes": {"cf-router": [{"port": 8080}]}, "unknown": 1, "instances": None}
    await ask(client, "PUT", "/v1/desired_lrps/web", json=body)

    assert bbs.args("update_desired_lrp") == (
        "web",
        DesiredLRPUpdate(annotation="n", routes={"cf-router": b'[{"port":8080}]'}),
    )


async def test_an_update_that_meets_another_is_tried_once_more(client: Client, bbs: ScriptedBBS) -> None:
    bbs.script("update_desired_lrp", CONFLICT, None)
    assert (await ask(client, "PUT", "/v1/desired_lrps/web", json={})).status == 204
    assert bbs.called() == ["update_desired_lrp"] * 2

    bbs.script("update_desired_lrp", CONFLICT, CONFLICT, None)
    answer = await ask(client, "PUT", "/v1/desired_lrps/web", json={})
    assert answer.error == (
        500,
        error_body("ResourceConflict", "Desired LRP with guid 'web' failed to update"),
    )


async def test_a_task_is_deleted_through_resolving(client: Client, bbs: ScriptedBBS) -> None:
    await ask(client, "DELETE", "/v1/tasks/t")

    assert bbs.called() == ["resolving_task", "delete_task"]


@pytest.mark.parametrize(
    ("rows", "shown", "evacuating"),
    [
        ([row()], "ORDINARY-0", False),
        ([row(presence=Presence.EVACUATING)], "EVACUATING-0", True),
        ([row(state="CLAIMED"), row(presence=Presence.EVACUATING)], "EVACUATING-0", True),
        ([row(), row(presence=Presence.EVACUATING)], "ORDINARY-0", False),
        ([row(state="CLAIMED"), row(presence=Presence.SUSPECT)], "SUSPECT-0", False),
    ],
)
async def test_an_index_is_shown_as_one_instance(
    client: Client, bbs: ScriptedBBS, rows: list[ActualLRP], shown: str, evacuating: bool
) -> None:
    bbs.script("actual_lrps", rows)

    async with client.get("/v1/actual_lrps/web/index/0") as answer:
        document = await answer.json()

    assert (document["instance_guid"], document["evacuating"]) == (shown, evacuating)


async def test_a_process_has_one_entry_per_index(client: Client, bbs: ScriptedBBS) -> None:
    bbs.script("actual_lrps", [row(0), row(1), row(1, presence=Presence.EVACUATING)])

    async with client.get("/v1/actual_lrps/web") as answer:
        assert [lrp["index"] for lrp in await answer.json()] == [0, 1]


async def test_an_unknown_index(client: Client, bbs: ScriptedBBS) -> None:
    bbs.script("actual_lrps", [], [])

    shown = await ask(client, "GET", "/v1/actual_lrps/web/index/3")
    retired = await ask(client, "DELETE", "/v1/actual_lrps/web/index/3")

    assert shown.error == (404, "null")
    message = "process-guid 'web' does not exist or has no instance at index 3"
    assert retired.error == (404, error_body("ActualLRPIndexNotFound", message))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_index_that_is_no_number(client: Client, method: str) -> None:
    answer = await ask(client, method, "/v1/actual_lrps/web/index/first")

    assert answer.error == (400, error_body("InvalidRequest", "index not a number"))


async def test_retiring_asks_with_the_key_and_ignores_failure(client: Client, bbs: ScriptedBBS) -> None:
    bbs.script("actual_lrps", [row(2)])
    bbs.script("retire_actual_lrp", BROKEN)

    answer = await ask(client, "DELETE", "/v1/actual_lrps/web/index/2")

    assert answer.status == 204
    assert bbs.args("retire_actual_lrp") == (ActualLRPKey(process_guid="web", index=2, domain="d"),)
