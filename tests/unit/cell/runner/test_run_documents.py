"""Documents of a run: accepted forms, and messages about invalid ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbs.models.actions import RunAction, TimeoutAction
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import TaskDocument
from cell.errors import BadInput
from cell.examples import EXAMPLES
from cell.runner.document import read_runnable, read_workload

pytestmark = pytest.mark.unit

RUN = {"run": {"path": "/bin/true", "user": "vcap"}}
LRP = {"process_guid": "p", "domain": "d", "rootfs": "preloaded:busybox", "action": RUN}
TASK = {"task_guid": "t", "domain": "d", "rootfs": "preloaded:busybox", "action": RUN}


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "tree.json"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("trees/*.json")), ids=lambda path: path.stem)
def test_the_example_trees_can_be_run(path: Path) -> None:
    read_workload(str(path))


@pytest.mark.parametrize(
    ("document", "kind"),
    [(RUN, RunAction), (TASK, TaskDocument), (LRP, DesiredLRP), ({"task_definition": TASK}, TaskDocument)],
)
def test_a_document_is_recognised(document: object, kind: type) -> None:
    assert isinstance(read_runnable(document), kind)


def test_the_form_of_2015_gives_timeouts_in_nanoseconds() -> None:
    action = read_runnable({"timeout": {"action": RUN, "timeout": 5_000_000_000}})
    assert isinstance(action, TimeoutAction)
    assert action.timeout_ms == 5000


@pytest.mark.parametrize(
    ("document", "path", "expected", "got"),
    [
        ({"run": {}}, "$.run.path", "a value", "nothing"),
        ({"run": {"path": 3}}, "$.run.path", "a string", "the number 3"),
        ([], "$", "an object", "a list"),
        ({"serial": {"actions": []}}, "$.serial.actions", "at least one action", "none"),
        ({"parallel": {"actions": [RUN, {"run": {}}]}}, "$.parallel.actions[1].run.path", "a value", ""),
        ({"codependent": {"actions": [{"try": {}}]}}, "$.codependent.actions[0].try.action", "an action", ""),
        ({"timeout": {"action": RUN}}, "$.timeout.timeout_ms", "more than 0", "nothing"),
        ({"timeout": {"action": RUN, "timeout_ms": -1}}, "$.timeout.timeout_ms", "more than 0", "-1"),
        ({"emit_progress": {}}, "$.emit_progress.action", "an action", "nothing"),
        ({"download": {"to": "/x"}}, "$.download.from", "a value", "nothing"),
        ({"upload": {"from": "/x"}}, "$.upload.to", "a value", "nothing"),
        (
            {"download": {"from": "u", "to": "/x", "checksum_algorithm": "crc", "checksum_value": "0"}},
            "$.download.checksum_algorithm",
            "one of md5, sha1, sha256",
            "crc",
        ),
        (
            {"download": {"from": "u", "to": "/x", "checksum_value": "0"}},
            "$.download.checksum_algorithm",
            "",
            "",
        ),
        (
            {"download": {"from": "u", "to": "/x", "checksum_algorithm": "md5"}},
            "$.download.checksum_value",
            "",
            "",
        ),
        ({**TASK, "rootfs": ""}, "$.rootfs", "a value", "nothing"),
        ({**TASK, "memory_mb": -1}, "$.memory_mb", "0 (unlimited) or more", "-1"),
        ({**TASK, "action": {"run": {}}}, "$.action.run.path", "a value", "nothing"),
        ({"task_definition": {**TASK, "disk_mb": -5}}, "$.task_definition.disk_mb", "0", "-5"),
        ({"task_definition": {**TASK, "action": {"run": {}}}}, "$.task_definition.action.run.path", "", ""),
        ({**LRP, "monitor": {"run": {}}}, "$.monitor.run.path", "a value", "nothing"),
        ({**LRP, "setup": {"try": {}}}, "$.setup.try.action", "an action", "nothing"),
        ({**LRP, "sidecars": [{}]}, "$.sidecars[0].action", "a value", "nothing"),
        ({**LRP, "ports": [0]}, "$.ports[0]", "", ""),
        ({**LRP, "env": [{"value": "x"}]}, "$.env[0].name", "a value", "nothing"),
        ({**LRP, "volume_mounts": [{"driver": "nfs"}]}, "$.volume_mounts", "none", "1"),
    ],
)
def test_a_bad_document_names_the_field(
    tmp_path: Path, document: object, path: str, expected: str, got: str
) -> None:
    with pytest.raises(BadInput) as failure:
        read_workload(_file(tmp_path, json.dumps(document)))
    text = str(failure.value)
    assert f"tree.json: {path}: expected " in text
    assert expected in text
    assert got in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"run":', "not JSON: Expecting value at line 1, column 8"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_where_it_stops_being_it(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_workload(_file(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_bytes(b'{"run": "\xff"}')
    with pytest.raises(BadInput, match="not UTF-8 text"):
        read_workload(str(path))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match=r"/no/such/tree\.json: No such file"):
        read_workload("/no/such/tree.json")


@pytest.mark.parametrize("document", [{"action": RUN}, {"task_definition": {"action": RUN}}])
def test_a_root_filesystem_that_is_given_need_not_stand_in_the_document(document: dict[str, Any]) -> None:
    workload = read_runnable(document, root_fs="preloaded:busybox")
    assert isinstance(workload, TaskDocument)
    assert workload.definition.root_fs == "preloaded:busybox"


def test_a_document_without_one_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\$\.rootfs.*give --image"):
        read_workload(_file(tmp_path, json.dumps({"action": RUN})))
