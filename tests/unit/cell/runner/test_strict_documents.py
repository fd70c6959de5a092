"""Mistakes in documents that the protocols ignore: each is named with its place and the nearest word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbs.models.actions import ACTION_TYPES
from bbs.models.shape import ObjectOf, members
from cell.errors import BadInput
from cell.examples import EXAMPLES
from cell.main import main
from cell.runner.document import read_workload
from cell.runner.places import places
from cell.runner.strict import findings

pytestmark = pytest.mark.unit

RUN = {"run": {"path": "/bin/true", "user": "vcap"}}
LRP = {"process_guid": "p", "domain": "d", "rootfs": "preloaded:x", "instances": 1, "action": RUN}
RULE = {"protocol": "tcp", "destinations": ["10.0.0.1"], "ports": [80]}


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        (
            {"run": {"path": "x", "arguments": ["y"]}},
            "$.run.arguments",
            'unknown key "arguments"; did you mean "args"?',
        ),
        ({"run": {"paht": "x"}}, "$.run.paht", 'unknown key "paht"; did you mean "path"?'),
        ({"paralel": {"actions": []}}, "$.paralel", 'unknown action "paralel"; did you mean "parallel"?'),
        ({"serial": {"action": [RUN]}}, "$.serial.action", 'unknown key "action"; did you mean "actions"?'),
        (
            {"serial": {"actions": [{**RUN, "download": {"from": "u"}}]}},
            "$.serial.actions[0]",
            "2 actions in one object (run, download), of which one would run: "
            "make them the actions of a serial or parallel action",
        ),
        (
            {"timeout": {"action": RUN, "timeout": 30}},
            "$.timeout.timeout",
            '30 is 30 ns; did you mean 30000000000 (30 s), or "timeout_ms": 30000?',
        ),
        (
            {"timeout": {"action": RUN, "timeout_ms": "30s"}},
            "$.timeout.timeout_ms",
            'a duration is a number here: write 30000 for "30s"',
        ),
        (
            {**LRP, "start_timeout": "1m"},
            "$.start_timeout",
            'a duration is a number here: write 60 for "1m"',
        ),
        ({**LRP, "instanses": 3}, "$.instanses", 'unknown key "instanses"; did you mean "instances"?'),
        (
            {**LRP, "check_definition": {"checks": [{"http_check": {"prt": 8080}}]}},
            "$.check_definition.checks[0].http_check.prt",
            'unknown key "prt"; did you mean "port"?',
        ),
        ({**LRP, "env": [{"name": "A", "val": "1"}]}, "$.env[0].val", 'did you mean "value"?'),
        (
            {**LRP, "egress_rules": [{**RULE, "port": 80}]},
            "$.egress_rules[0].port",
            'unknown key "port"; did you mean "ports"?',
        ),
        (
            {"task_guid": "t", "domain": "d", "rootfs": "preloaded:x", "action": RUN, "resultfile": "/x"},
            "$.resultfile",
            'did you mean "result_file"?',
        ),
    ],
)
def test_a_mistake_is_named(document: Any, path: str, message: str) -> None:
    assert any(place == path and message in text for place, text in findings(document))


@pytest.mark.parametrize(
    "document",
    [
        {**LRP, "stack": "x", "security_group_rules": [{"protocol": "tcp", "destination": "10.0.0.1"}]},
        {**LRP, "Routes": {"anything": {"goes": 1}}, "metric_tags": {"any": {"static": "x"}}},
        {"task_definition": {"rootfs": "preloaded:x", "actions": [RUN]}, "task_guid": "t"},
        {"timeout": {"action": RUN, "timeout": 30_000_000_000}},
    ],
)
def test_older_and_free_keys_are_known(document: Any) -> None:
    assert list(findings(document)) == []


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("**/*.json")), ids=lambda path: path.name)
def test_the_examples_have_no_mistake(file: Path) -> None:
    if file.name not in ("rep.json", "ssh_proxy.json"):
        read_workload(str(file), root_fs="preloaded:busybox")


def test_each_kind_of_action_has_a_form() -> None:
    for cls in ACTION_TYPES.values():
        assert "log_source" in members(cls)
    assert members(ACTION_TYPES["run"])["resource_limits"].__class__ is ObjectOf


TEXT = """{
  "run": {
    "path": "/bin/sh",
    "args": ["-c",
             7],
    "path": "/bin/true", "user": "\\u0076cap"
  }
}
"""


def test_every_problem_has_its_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "tree.json"
    file.write_text(TEXT)
    with pytest.raises(BadInput) as failure:
        read_workload(str(file), root_fs="preloaded:x")
    assert str(failure.value).replace(f"{file}: ", "").splitlines() == [
        "$.run.path: the key is there twice, first in line 3 (line 6, column 5)",
        "$.run.args[1]: expected a string, got the number 7 (line 5, column 14)",
    ]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"dance": {}}, "$.dance"),
        ({"serial": {"actions": [RUN, {"dance": {}}]}}, "$.serial.actions[1].dance"),
    ],
)
def test_an_unknown_action_is_one_problem(tmp_path: Path, document: Any, path: str) -> None:
    file = tmp_path / "tree.json"
    file.write_text(json.dumps(document))
    with pytest.raises(BadInput) as failure:
        read_workload(str(file))
    (line,) = str(failure.value).splitlines()
    assert line.startswith(f'{file}: {path}: unknown action "dance"; there are: download, upload, run')


def test_a_place_that_is_missing_is_that_of_its_object() -> None:
    found = places('{"a":\n  [1, {"b": null}]}')
    assert found.of("$.a[1].c.d") == (2, 7)
    assert found.of("$.a[1].b") == (2, 8)
    assert found.of("$.x") == (1, 1)
    assert found.of("$") == (1, 1)


def test_check_reports_all_files_and_all_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, rep, torn = (tmp_path / name for name in ("good.json", "bad.json", "rep.json", "torn.json"))
    good.write_text(json.dumps(RUN))
    bad.write_text(json.dumps({**LRP, "instanses": 3, "egress_rules": [{**RULE, "destinations": ["ten"]}]}))
    rep.write_text(json.dumps({"cell_id": "c", "bbs_adress": "http://127.0.0.1:1"}))
    torn.write_text('{"run":')
    assert main(["check", *map(str, (good, bad, rep, torn))]) == 2
    out, problems = capsys.readouterr()
    assert out == f"{good}: good\n"
    assert 'unknown key "instanses"; did you mean "instances"?' in problems
    assert f"{bad}: $.egress_rules[0]: expected a rule that can be applied, got " in problems
    assert 'did you mean "bbs_address"?' in problems
    assert f"{torn}: not JSON: Expecting value at line 1, column 8" in problems
    assert main(["check", str(good)]) == 0


def test_check_reads_the_proxys_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ssh_proxy.json"
    file.write_text(json.dumps({"host_key": 3}))
    assert main(["check", str(file)]) == 2
    assert "host_key" in capsys.readouterr().err
