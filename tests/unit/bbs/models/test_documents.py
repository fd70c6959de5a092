"""Detection of the kind of a document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bbs.models.actions import RunAction, SerialAction, TimeoutAction
from bbs.models.codec import InvalidDocument, from_json, to_json
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import TaskDocument, read_desired_lrp, read_document, read_task
from bbs.models.task import TaskDefinition
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES
RUN = {"run": {"path": "/app", "user": "u"}}
ACTION = RunAction(path="/app", user="u")


def cfdot_argument(command: str) -> Any:
    recorded = json.loads((GOLDEN / "wire" / "cfdot" / "commands.json").read_text())
    argv = next(one["argv"] for one in recorded["commands"] if one["name"] == command)
    return json.loads(argv[2])


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (RUN, ACTION),
        ({"Serial": {"actions": [RUN]}}, SerialAction(actions=(ACTION,))),
        ({"timeout": {"action": RUN, "timeout": 2 * 10**9}}, TimeoutAction(action=ACTION, timeout_ms=2000)),
        ({"timeout": {"action": RUN, "timeout_ms": 2000}}, TimeoutAction(action=ACTION, timeout_ms=2000)),
        (
            {"rootfs": "docker:///x", "action": RUN},
            TaskDocument(definition=TaskDefinition(root_fs="docker:///x", action=ACTION)),
        ),
        (
            {"task_guid": "t", "domain": "d", "rootfs": "docker:///x", "action": RUN},
            TaskDocument(
                task_guid="t", domain="d", definition=TaskDefinition(root_fs="docker:///x", action=ACTION)
            ),
        ),
        (
            {"task_guid": "t", "task_definition": {"rootfs": "docker:///x", "action": RUN}},
            TaskDocument(task_guid="t", definition=TaskDefinition(root_fs="docker:///x", action=ACTION)),
        ),
        (
            {"stack": "lucid64", "actions": [RUN]},
            TaskDocument(
                definition=TaskDefinition(
                    root_fs="preloaded:lucid64", action=SerialAction(actions=(ACTION,))
                )
            ),
        ),
    ],
)  # fmt: skip
def test_recognised(document: Any, expected: object) -> None:
    assert read_document(document) == expected


def test_desired_lrp_of_2015() -> None:
    document = json.loads((GOLDEN / "documents" / "desired_lrp_2015.json").read_text())
    lrp = read_document(document)
    assert isinstance(lrp, DesiredLRP)
    assert lrp.start_timeout_ms == 60_000


@pytest.mark.parametrize("command", ["create-desired-lrp-full", "create-desired-lrp"])
def test_desired_lrp_of_today_keeps_everything(command: str) -> None:
    document = cfdot_argument(command)
    assert read_document(document) == from_json(DesiredLRP, document)


def test_task_of_today_keeps_everything() -> None:
    document = cfdot_argument("create-task")
    task = read_document(document)
    assert isinstance(task, TaskDocument)
    assert task.task_guid == "golden-cf-task"
    assert task.definition == from_json(TaskDefinition, document)
    assert read_task(to_json(task.definition)).definition == task.definition


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ([], "$", "expected an object, got a list"),
        ("x", "$", "expected an object"),
        ({}, "$", "got an empty object"),
        ({"foo": 1, "bar": 2}, "$", "the keys bar, foo"),
        ({"process_guid": "p"}, "$.domain", "required"),
        ({"process_guid": "p", "domain": "d", "action": RUN}, "$.rootfs", "required"),
        ({"task_guid": "t", "rootfs": "r"}, "$.action", "required"),
        ({"task_guid": 5, "rootfs": "r", "action": RUN}, "$.task_guid", "a string"),
        ({"task_guid": "t", "task_definition": {"rootfs": "r", "action": {"run": 1}}},
         "$.task_definition.action.run", "an object"),
        ({"rootfs": "r", "action": {"rnu": {}}}, "$.action", "one of the keys download, upload, run"),
        ({"run": {"path": ["x"]}}, "$.run.path", "expected a string, got a list"),
    ],
)  # fmt: skip
def test_errors(document: Any, path: str, words: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_document(document)
    assert caught.value.path == path
    assert words in str(caught.value)


def test_a_desired_lrp_asked_for_by_name() -> None:
    with pytest.raises(InvalidDocument, match=r"\$\.process_guid"):
        read_desired_lrp({"domain": "d"})
