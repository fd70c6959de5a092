"""The Receptor's JSON of 2015, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bbs.models import codec
from bbs.models.actions import (
    DownloadAction,
    EmitProgressAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from bbs.models.actual_lrp import ActualLRP, ActualLRPNetInfo, PortMapping, Presence
from bbs.models.cell import CellCapacity, CellPresence, Provider
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.receptor import (
    MissingField,
    read_action,
    read_actual_lrp,
    read_cell,
    read_desired_lrp,
    read_desired_lrp_update,
    read_task,
    write_action,
    write_actual_lrp,
    write_cell,
    write_desired_lrp,
    write_desired_lrp_update,
    write_task,
)
from bbs.models.task import Task, TaskDefinition, TaskState
from bbs.models.validation import validate_desired_lrp
from bbs.models.workload import ICMPInfo, ImageLayer, LayerType, MediaType, SecurityGroupRule
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

DOCUMENTS = GOLDEN_FILES / "documents"

RUN = {"run": {"path": "/app", "user": "u"}}


def document(name: str) -> Any:
    return json.loads((DOCUMENTS / name).read_text())


def lrp(**changes: Any) -> dict[str, Any]:
    """A small create request; None takes a key away."""
    whole = {"process_guid": "p", "domain": "d", "rootfs": "docker:///x", "action": RUN} | changes
    return {key: value for key, value in whole.items() if value is not None}


def task(**changes: Any) -> dict[str, Any]:
    whole = {"task_guid": "t", "domain": "d", "rootfs": "docker:///x", "action": RUN} | changes
    return {key: value for key, value in whole.items() if value is not None}


def place(error: pytest.ExceptionInfo[codec.InvalidDocument]) -> str:
    return error.value.path


class TestRecordedDocuments:
    def test_desired_lrp_comes_back_as_it_was(self) -> None:
        original = document("desired_lrp_2015.json")
        assert write_desired_lrp(read_desired_lrp(original)) == original

    def test_desired_lrp_is_valid_today(self) -> None:
        assert validate_desired_lrp(read_desired_lrp(document("desired_lrp_2015.json"))) == []

    def test_desired_lrp_in_units_of_today(self) -> None:
        model = read_desired_lrp(document("desired_lrp_2015.json"))
        assert model.start_timeout_ms == 60_000
        assert isinstance(model.monitor, TimeoutAction)
        assert model.monitor.timeout_ms == 30_000
        assert model.metric_tags == {"source_id": MetricTagValue(static=model.metrics_guid)}

    def test_desired_lrp_through_todays_form_and_back(self) -> None:
        original = document("desired_lrp_2015.json")
        model = read_desired_lrp(original)
        today = codec.to_json(model)
        assert today["monitor"]["timeout"]["timeout_ms"] == 30_000
        assert "timeout" not in today["monitor"]["timeout"]
        assert read_desired_lrp(json.loads(codec.compact(today))) == model
        assert write_desired_lrp(codec.from_json(DesiredLRP, today)) == original

    def test_actual_lrps_come_back_as_they_were(self) -> None:
        for original in document("actual_lrps_2015.json"):
            row = read_actual_lrp(original)
            assert write_actual_lrp(row) == original
            assert codec.from_json(ActualLRP, codec.to_json(row)) == row


class TestDesiredLRP:
    @pytest.mark.parametrize("field", ["process_guid", "domain", "rootfs", "action"])
    @pytest.mark.parametrize("absent", [None, "", {}])
    def test_missing_field_is_named(self, field: str, absent: object) -> None:
        with pytest.raises(MissingField) as caught:
            read_desired_lrp(lrp(**{field: absent}))
        assert place(caught) == f"$.{field}"

    @pytest.mark.parametrize(
        ("changes", "path"),
        [
            ({"start_timeout": "60"}, "$.start_timeout"),
            ({"start_timeout": -1}, "$.start_timeout"),
            ({"instances": 1.5}, "$.instances"),
            ({"ports": [8080, 65536]}, "$.ports[1]"),
            ({"ports": [{"container_port": "a"}]}, "$.ports[0]"),
            ({"routes": {"r": None}}, "$.routes.r"),
            ({"routes": ["a.b"]}, "$.routes"),
            ({"rootfs": None, "root_fs": 5}, "$.root_fs"),
            ({"rootfs": None, "stack": 5}, "$.stack"),
            ({"monitor": {"timeout": {"action": {"try": {"action": {}}}}}},
             "$.monitor.timeout.action.try.action"),
            ({"setup": {"serial": {"actions": [RUN, {"rnu": {}}]}}}, "$.setup.serial.actions[1]"),
            ({"action": None, "actions": [RUN, {"run": {"path": 1}}]}, "$.actions[1].run.path"),
            ({"action": None, "actions": [RUN, {"rnu": {}}]}, "$.actions[1]"),
            ({"security_group_rules": [{"protocol": 6}]}, "$.security_group_rules[0].protocol"),
            ({"egress_rules": [{"destination": 7}]}, "$.egress_rules[0].destination"),
            ({"security_group_rules": [{"destination": 7}]}, "$.security_group_rules[0].destination"),
            ({"Memory_MB": "1"}, "$.Memory_MB"),
            ({"env": [{"name": "a"}, 1]}, "$.env[1]"),
        ],
    )  # fmt: skip
    def test_errors_name_the_place_as_written(self, changes: dict[str, Any], path: str) -> None:
        with pytest.raises(codec.InvalidDocument) as caught:
            read_desired_lrp(lrp(**changes))
        assert place(caught) == path

    def test_not_an_object(self) -> None:
        with pytest.raises(codec.InvalidDocument, match="expected an object, got a list"):
            read_desired_lrp([])

    def test_names_of_2014(self) -> None:
        old = lrp(
            rootfs=None,
            stack="lucid64",
            action=None,
            actions=[RUN, RUN],
            ports=[{"container_port": 8080}],
            routes=["a.b", "c.d"],
            security_group_rules=[
                {
                    "protocol": "TCP",
                    "destination": {"network_address": "10.0.0.0", "prefix_length": 8},
                    "port_range": {"start": 1, "end": 2},
                },
                {"protocol": "ICMP", "destination": {"network_address": "1.1.1.1"}, "icmp_info": {"type": 8}},
            ],
        )
        model = read_desired_lrp(old)
        run = RunAction(path="/app", user="u")
        assert model.root_fs == "preloaded:lucid64"
        assert model.action == SerialAction(actions=(run, run))
        assert model.ports == (8080,)
        assert model.routes == {"cf-router": b'[{"hostnames":["a.b","c.d"],"port":8080}]'}
        assert [rule.destinations for rule in model.egress_rules] == [("10.0.0.0/8",), ("1.1.1.1",)]
        assert [rule.protocol for rule in model.egress_rules] == ["tcp", "icmp"]

    def test_root_fs_and_the_single_destination_of_january(self) -> None:
        model = read_desired_lrp(
            lrp(
                rootfs=None,
                root_fs="docker:///y",
                egress_rules=[{"protocol": "all", "destination": "1.2.3.4"}],
            )
        )
        assert model.root_fs == "docker:///y"
        assert model.egress_rules == (SecurityGroupRule(protocol="all", destinations=("1.2.3.4",)),)

    def test_newer_names_win(self) -> None:
        model = read_desired_lrp(
            lrp(root_fs="old", stack="old", actions=[], start_timeout=1, start_timeout_ms=5)
        )
        assert model.root_fs == "docker:///x"
        assert model.start_timeout_ms == 5
        assert isinstance(model.action, RunAction)

    @pytest.mark.parametrize(
        ("changes", "guid"),
        [({}, "p"), ({"log_guid": "l"}, "l"), ({"log_guid": "l", "metrics_guid": "m"}, "m")],
    )
    def test_source_of_metrics(self, changes: dict[str, Any], guid: str) -> None:
        model = read_desired_lrp(lrp(**changes))
        assert model.metrics_guid == guid
        assert model.metric_tags == {"source_id": MetricTagValue(static=guid)}

    def test_tags_of_today_are_left_alone(self) -> None:
        model = read_desired_lrp(lrp(metric_tags={"source_id": {"static": "s"}}))
        assert model.metric_tags == {"source_id": MetricTagValue(static="s")}
        assert model.metrics_guid == ""
        assert write_desired_lrp(model)["metrics_guid"] == "s"

    def test_minimal_response(self) -> None:
        body = write_desired_lrp(DesiredLRP(process_guid="p", domain="d", root_fs="r", cpu_weight=300))
        assert body["setup"] is None
        assert body["monitor"] is None
        assert body["ports"] == []
        assert body["cpu_weight"] == 100
        assert body["modification_tag"] == {"epoch": "", "index": 0}
        assert not {"env", "annotation", "egress_rules", "routes"} & body.keys()

    def test_rules_and_layers_the_old_form_has_no_word_for(self) -> None:
        body = write_desired_lrp(
            DesiredLRP(
                action=RunAction(path="p", user="u"),
                legacy_download_user="v",
                image_layers=(
                    ImageLayer(
                        url="http://x",
                        destination_path="/y",
                        layer_type=LayerType.EXCLUSIVE,
                        media_type=MediaType.TGZ,
                    ),
                ),
                egress_rules=(
                    SecurityGroupRule(protocol="icmpv6", destinations=("::1",), icmp_info=ICMPInfo()),
                    SecurityGroupRule(protocol="all", destinations=("1.1.1.1",), annotations=("a",)),
                ),
            )
        )
        assert body["egress_rules"] == [{"protocol": "all", "destinations": ["1.1.1.1"], "log": False}]
        download = {"from": "http://x", "to": "/y", "cache_key": "http://x", "user": "v"}
        parallel = {"parallel": {"actions": [{"download": download}]}}
        assert body["setup"] == {"serial": {"actions": [parallel]}}

    def test_update_holds_only_the_given_keys(self) -> None:
        update = read_desired_lrp_update({"instances": 0, "routes": {"r": [1]}, "annotation": None})
        assert update == DesiredLRPUpdate(instances=0, routes={"r": b"[1]"})
        assert write_desired_lrp_update(update) == {"instances": 0, "routes": {"r": [1]}}
        assert write_desired_lrp_update(DesiredLRPUpdate()) == {}


class TestActions:
    @pytest.mark.parametrize(("ns", "ms"), [(10**10, 10_000), (1_999_999, 1), (5, 1), (0, 0), (-1, -1)])
    def test_timeouts(self, ns: int, ms: int) -> None:
        action = read_action({"timeout": {"action": RUN, "timeout": ns}})
        assert action == TimeoutAction(action=RunAction(path="/app", user="u"), timeout_ms=ms)

    def test_milliseconds_win(self) -> None:
        action = read_action({"timeout": {"action": RUN, "timeout": 10**9, "timeout_ms": 7}})
        assert isinstance(action, TimeoutAction)
        assert action.timeout_ms == 7

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ({"run": {"path": "p"}}, RunAction(path="p", user="vcap")),
            ({"run": {"path": "p", "user": "root"}}, RunAction(path="p", user="root")),
            ({"download": {"from": "a", "to": "b"}}, DownloadAction(from_="a", to="b", user="vcap")),
            ({"upload": {"from": "a", "to": "b"}}, UploadAction(from_="a", to="b", user="vcap")),
            ({"try": {"action": {"run": {}}}}, TryAction(action=RunAction(user="vcap"))),
            ({"emit_progress": {"action": {"run": {}}}}, EmitProgressAction(action=RunAction(user="vcap"))),
        ],
    )
    def test_users(self, document: dict[str, Any], expected: object) -> None:
        assert read_action(document) == expected

    @pytest.mark.parametrize(
        "tree",
        [
            {"run": {"path": "p", "args": ["a"], "dir": "/d", "env": [{"name": "n", "value": "v"}],
                     "resource_limits": {"nofile": 1}, "user": "u", "log_source": "L"}},
            {"download": {"artifact": "a", "from": "f", "to": "t", "cache_key": "", "user": "u"}},
            {"upload": {"from": "f", "to": "t", "user": "u"}},
            {"timeout": {"action": {"try": {"action": RUN}}, "timeout": 10_000_000_000}},
            {"emit_progress": {"action": RUN, "start_message": "s", "success_message": "",
                               "failure_message_prefix": ""}},
            {"parallel": {"actions": [{"serial": {"actions": [RUN]}}, {"codependent": {"actions": [RUN]}}]}},
        ],
    )  # fmt: skip
    def test_shapes_come_back(self, tree: dict[str, Any]) -> None:
        assert write_action(read_action(tree)) == tree

    def test_what_came_later_is_left_out(self) -> None:
        today = {
            "run": {"path": "p", "user": "u", "suppress_log_output": True, "resource_limits": {"nproc": 5}}
        }
        assert write_action(read_action(today)) == {"run": {"path": "p", "user": "u"}}


class TestTask:
    @pytest.mark.parametrize("field", ["task_guid", "domain", "rootfs", "action"])
    def test_missing_field_is_named(self, field: str) -> None:
        with pytest.raises(MissingField) as caught:
            read_task(task(**{field: None}))
        assert place(caught) == f"$.{field}"

    @pytest.mark.parametrize("url", ["nowhere", "/path", "ftp://x/y", "http://", "http://[::1"])
    def test_callback_must_be_absolute(self, url: str) -> None:
        with pytest.raises(codec.InvalidDocument) as caught:
            read_task(task(completion_callback_url=url))
        assert place(caught) == "$.completion_callback_url"

    def test_response_comes_back(self) -> None:
        body = task(
            completion_callback_url="http://x/done",
            env=[{"name": "a", "value": "b"}],
            cpu_weight=1,
            disk_mb=2,
            memory_mb=3,
            privileged=True,
            log_guid="lg",
            log_source="ls",
            metrics_guid="mg",
            annotation="note",
            egress_rules=[{"protocol": "all", "destinations": ["1.1.1.1"], "log": False}],
            result_file="",
            cell_id="c",
            created_at=4,
            state="COMPLETED",
            failed=True,
            failure_reason="why",
            result="res",
        )
        model = read_task(body)
        assert model.state is TaskState.Completed
        assert write_task(model) == body

    def test_result_file_is_read_but_not_shown(self) -> None:
        model = read_task(task(result_file="/r", executor_id="c"))
        assert model.task_definition is not None
        assert model.task_definition.result_file == "/r"
        assert model.cell_id == "c"
        assert write_task(model)["result_file"] == ""

    def test_unknown_state(self) -> None:
        with pytest.raises(codec.InvalidDocument) as caught:
            read_task(task(state="NOVEL"))
        assert place(caught) == "$.state"

    def test_minimal_response(self) -> None:
        body = write_task(Task(task_guid="t", domain="d", task_definition=TaskDefinition(root_fs="r")))
        assert body["state"] == "INVALID"
        assert body["completion_callback_url"] == ""
        assert not {"env", "annotation", "egress_rules"} & body.keys()


class TestPlaces:
    def test_evacuating_and_older_names(self) -> None:
        row = read_actual_lrp({"process_guid": "p", "executor_id": "c", "host": "h", "evacuating": True})
        assert row.presence is Presence.EVACUATING
        assert row.actual_lrp_instance_key.cell_id == "c"
        assert row.actual_lrp_net_info.address == "h"
        assert write_actual_lrp(row)["evacuating"] is True

    def test_reasons_show_when_there_are_any(self) -> None:
        body = write_actual_lrp(ActualLRP(crash_reason="c", placement_error="p", presence=Presence.SUSPECT))
        assert body["crash_reason"] == "c"
        assert body["placement_error"] == "p"
        assert body["state"] == "INVALID"
        assert body["evacuating"] is False

    def test_only_the_two_ports_of_2015(self) -> None:
        net_info = ActualLRPNetInfo(
            ports=(
                PortMapping(container_port=1, host_port=2, container_tls_proxy_port=3, host_tls_proxy_port=4),
            )
        )
        body = write_actual_lrp(ActualLRP(actual_lrp_net_info=net_info))
        assert body["ports"] == [{"container_port": 1, "host_port": 2}]

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"ports": [{"host_port": 65536}]}, "$.ports[0].host_port"),
            ({"ports": [{"container_port": 65536}]}, "$.ports[0].container_port"),
            ({"evacuating": 1}, "$.evacuating"),
            ({"executor_id": 1}, "$.executor_id"),
        ],
    )
    def test_errors(self, body: dict[str, Any], path: str) -> None:
        with pytest.raises(codec.InvalidDocument) as caught:
            read_actual_lrp(body)
        assert place(caught) == path

    def test_cell(self) -> None:
        body = {
            "cell_id": "c",
            "zone": "z",
            "capacity": {"memory_mb": 1, "disk_mb": 2, "containers": 3},
            "rootfs_providers": {"preloaded": ["lucid64"], "docker": []},
        }
        cell = CellPresence(
            cell_id="c",
            zone="z",
            capacity=CellCapacity(memory_mb=1, disk_mb=2, containers=3),
            rootfs_providers=(
                Provider(name="preloaded", properties=("lucid64",)),
                Provider(name="docker"),
            ),
        )
        assert read_cell(body) == cell
        assert write_cell(cell) == body

    def test_providers_as_a_list(self) -> None:
        cell = read_cell({"cell_id": "c", "rootfs_providers": ["docker", {"name": "preloaded"}]})
        assert [one.name for one in cell.rootfs_providers] == ["docker", "preloaded"]
        with pytest.raises(codec.InvalidDocument) as caught:
            read_cell({"rootfs_providers": [7]})
        assert place(caught) == "$.rootfs_providers[0]"
