"""Executor requests from a document and the options of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bbs.models.actions import Action, ParallelAction, RunAction, SerialAction, TimeoutAction
from cell.development import BUSYBOX_IMAGE
from cell.errors import BadInput
from cell.runner.document import read_runnable
from cell.runner.options import (
    Options,
    RequestedPort,
    given_root_fs,
    image_root_fs,
    parse_env,
    parse_port,
)
from cell.runner.request import Order, make_order
from cell.story.plan import Node, plan

pytestmark = pytest.mark.unit

BUSYBOX = Options(root_fs="preloaded:busybox")
RUN: dict[str, Any] = {"run": {"path": "/bin/true", "user": "vcap"}}
LRP: dict[str, Any] = {
    "process_guid": "web",
    "domain": "d",
    "rootfs": "docker:///library/app#1",
    "setup": {"serial": {"actions": [RUN, RUN]}},
    "action": {"parallel": {"log_source": "SIDE", "actions": [RUN, {"try": {"action": RUN}}]}},
    "monitor": RUN,
    "ports": [8080],
    "env": [{"name": "A", "value": "document"}],
    "memory_mb": 32,
    "disk_mb": 64,
    "log_guid": "web-log",
    "log_source": "CELL",
}


def _order(document: object, options: Options = BUSYBOX) -> Order:
    return make_order(read_runnable(document, root_fs=options.root_fs), options, "run-1")


def _paths(order: Order) -> list[str]:
    return [node.path for root in plan(order.info) for node in root.walk()]


def test_an_action_runs_in_the_local_image_as_app() -> None:
    order = _order(RUN)
    assert (order.kind, order.info.root_fs) == ("action", BUSYBOX_IMAGE)
    assert (order.info.log_config.guid, order.info.log_config.source_name) == ("run-1", "APP")
    assert order.allocation.guid == order.run.guid == "run-1"


def test_a_path_of_this_machine_is_a_root_only_on_the_command_line() -> None:
    given = Options(root_fs="/srv/rootfs.tar")
    assert _order(LRP, given).info.root_fs == _order(RUN, given).info.root_fs == "/srv/rootfs.tar"
    with pytest.raises(BadInput, match="rootfs is a path of the cell that is none of its stacks: /etc"):
        _order({**LRP, "rootfs": "/etc"}, Options())


def test_an_action_alone_may_talk_to_everything_and_others_to_what_they_say() -> None:
    (rule,) = _order(RUN).info.egress_rules
    assert (rule.protocol, rule.destinations) == ("all", ("0.0.0.0/0",))
    assert _order(LRP).info.egress_rules == ()


def test_an_action_alone_needs_an_image() -> None:
    with pytest.raises(BadInput, match="give --image"):
        make_order(read_runnable(RUN), Options(), "run-1")


def test_an_lrp_keeps_all_it_says() -> None:
    order = _order(LRP, Options())
    info, allocation = order.info, order.allocation
    assert (order.kind, order.name) == ("lrp", "web")
    assert info.root_fs == "docker:///library/app#1"
    assert info.setup is not None
    assert info.monitor is not None
    assert info.ports == (8080,)
    assert dict(info.env)["A"] == "document"
    assert dict(info.env)["INSTANCE_INDEX"] == "0"
    assert (allocation.memory_mb, allocation.disk_mb) == (32, 64)
    assert (info.log_config.guid, info.log_config.source_name) == ("web-log", "CELL")


def test_the_command_line_wins() -> None:
    options = Options(
        root_fs="alpine:3.20",
        env=(("A", "option"), ("B", "2")),
        memory_mb=0,
        disk_mb=7,
        ports=(RequestedPort(8080, 18080), RequestedPort(9090)),
    )
    order = _order(LRP, options)
    assert order.info.root_fs == "alpine:3.20"
    assert dict(order.info.env) | {"A": "option", "B": "2"} == dict(order.info.env)
    assert (order.allocation.memory_mb, order.allocation.disk_mb) == (0, 7)
    assert order.info.ports == (8080, 9090)
    assert order.host_ports == {8080: 18080}


def test_one_user_for_every_step() -> None:
    order = _order(LRP, Options(user="root"))
    users = {
        node.action.user
        for root in plan(order.info)
        for node in root.walk()
        if isinstance(node.action, RunAction)
    }
    assert users == {"root"}
    assert isinstance(order.info.monitor, RunAction)
    assert order.info.monitor.user == "root"


def test_a_task_without_a_log_guid_is_heard_all_the_same() -> None:
    order = _order({"task_guid": "t", "domain": "d", "action": RUN, "result_file": "/r"})
    assert order.info.log_config.guid == "run-1"
    assert order.result_file == "/r"


def test_an_unknown_stack_is_bad_input() -> None:
    with pytest.raises(BadInput, match="preloaded:cflinuxfs4"):
        _order({**LRP, "rootfs": "preloaded:cflinuxfs4"}, Options())


def _only(path: str) -> Order:
    return _order(LRP, Options(only=path))


def test_only_one_subtree_and_nothing_around_it() -> None:
    order = _only("setup/serial")
    assert isinstance(order.info.action, SerialAction)
    assert order.info.setup is order.info.monitor is None
    assert _paths(order) == ["action/serial", "action/serial[0]/run", "action/serial[1]/run"]


def test_a_step_run_alone_keeps_the_log_source_it_inherits() -> None:
    order = _only("action/parallel[1]/try/run")
    assert isinstance(order.info.action, RunAction)
    assert order.info.action.log_source == "SIDE"


def test_a_step_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(BadInput) as failure:
        _only("action/run")
    assert "action/parallel[1]/try/run" in str(failure.value)


def _sources(action: Action) -> dict[str, str]:
    document_free = make_order(action, BUSYBOX, "g")
    nodes: list[Node] = [node for root in plan(document_free.info) for node in root.walk()]
    return {node.path: node.source for node in nodes}


def test_serial_hands_no_source_down_and_parallel_does() -> None:
    run = RunAction(path="x", user="u")
    assert _sources(SerialAction(actions=(run,), log_source="S"))["action/serial[0]/run"] == "APP"
    assert _sources(ParallelAction(actions=(run,), log_source="P"))["action/parallel[0]/run"] == "P"
    below = TimeoutAction(action=SerialAction(actions=(run,)), timeout_ms=1, log_source="T")
    assert _sources(below)["action/timeout/serial[0]/run"] == "T"


@pytest.mark.parametrize(
    ("image", "root_fs"),
    [
        ("busybox", "preloaded:busybox"),
        ("preloaded:busybox", "preloaded:busybox"),
        ("alpine:3.20", "alpine:3.20"),
        ("docker:///library/busybox", "docker:///library/busybox"),
    ],
)
def test_images_by_name(image: str, root_fs: str) -> None:
    assert image_root_fs(image) == root_fs


@pytest.mark.parametrize("image", ["", "/a/path", "./x", "two words"])
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(BadInput, match="--image"):
        image_root_fs(image)


def test_a_root_filesystem_may_be_a_place_of_this_machine(tmp_path: Path) -> None:
    assert given_root_fs(str(tmp_path)) == str(tmp_path)
    assert given_root_fs("docker:///x") == "docker:///x"
    with pytest.raises(BadInput, match="no such file"):
        given_root_fs(str(tmp_path / "none.tar"))


@pytest.mark.parametrize(
    ("text", "pair"), [("A=b=c", ("A", "b=c")), ("A=", ("A", "")), ("HERE", ("HERE", "1"))]
)
def test_variables(text: str, pair: tuple[str, str]) -> None:
    assert parse_env(text, {"HERE": "1"}) == pair


@pytest.mark.parametrize("text", ["=x", "", "NOT_HERE"])
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected NAME=VALUE"):
        parse_env(text, {})


def test_ports() -> None:
    assert parse_port("8080") == RequestedPort(8080)
    assert parse_port("18080:8080") == RequestedPort(8080, 18080)


@pytest.mark.parametrize("text", ["x", "0", "70000", "1:2:3", ":80", "0:80", "61001:80", "-1"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--port"):
        parse_port(text)


def test_an_unknown_stack_names_what_there_is() -> None:
    with pytest.raises(
        BadInput, match=r"cflinuxfs4 \(`cell run` has the stack busybox; --image takes any image\)"
    ):
        _order({"rootfs": "preloaded:cflinuxfs4", "action": RUN}, Options())
