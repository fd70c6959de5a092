"""The Go form of JSON, compared with output of Go programs and with its rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    EmptyAction,
    ParallelAction,
    ResourceLimits,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from bbs.models.actual_lrp import ActualLRP, ActualLRPGroup, ActualLRPKey, Presence
from bbs.models.cell import CellPresence
from bbs.models.codec import (
    InvalidDocument,
    action_from_json,
    action_to_json,
    compact,
    dumps,
    from_json,
    loads,
    parse,
    to_json,
)
from bbs.models.common import DynamicValue, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPSchedulingInfo, DesiredLRPUpdate, UpdateStrategy
from bbs.models.events import EVENT_TYPES, ActualLRPInfo, ActualLRPInstanceChangedEvent
from bbs.models.task import Task, TaskCallbackResponse, TaskDefinition
from bbs.models.validation import validate_desired_lrp
from bbs.models.workload import PortRange, VolumeMount
from bbs.wire.mapping import to_model, to_wire
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

WIRE = GOLDEN_FILES / "wire"

SINCE_THE_RECORDING = {
    "volume_mounted_files": None,
    "update_strategy": 0,
    "dedicated": None,
    "annotations": None,
}
"""Keys that are always written but did not exist in the release that was recorded."""


def as_recorded(value: Any) -> Any:
    """Our JSON without the keys that the recorded release lacks."""
    if isinstance(value, dict):
        return {
            key: as_recorded(item)
            for key, item in value.items()
            if not (key in SINCE_THE_RECORDING and item == SINCE_THE_RECORDING[key])
        }
    if isinstance(value, list):
        return [as_recorded(item) for item in value]
    return value


def printed_events() -> Iterator[Any]:
    for path in sorted((WIRE / "events").rglob("cfdot.*.jsonl")):
        lines = path.read_text().splitlines()
        yield pytest.param([json.loads(line) for line in lines], id=f"{path.parent.name}/{path.name}")


@pytest.mark.parametrize("events", list(printed_events()))
def test_events_as_cfdot_prints_them(events: list[Any]) -> None:
    assert events
    for event in events:
        model = from_json(EVENT_TYPES[event["type"]], event["data"])
        assert as_recorded(to_json(model)) == event["data"]


@pytest.mark.parametrize(
    ("command", "cls"),
    [
        ("desired-lrps", DesiredLRP),
        ("desired-lrp-scheduling-infos", DesiredLRPSchedulingInfo),
        ("actual-lrps", ActualLRP),
        ("actual-lrp-groups", ActualLRPGroup),
        ("tasks", Task),
        ("task-completed", Task),
        ("cells", CellPresence),
    ],
)
def test_records_as_cfdot_prints_them(command: str, cls: type) -> None:
    recorded = json.loads((WIRE / "cfdot" / "commands.json").read_text())["commands"]
    lines = next(one["stdout"] for one in recorded if one["name"] == command).splitlines()
    assert lines
    for line in lines:
        assert as_recorded(to_json(loads(cls, line))) == json.loads(line)


CREATE = """
{"process_guid":"web-1","domain":"cf-apps","rootfs":"preloaded:cflinuxfs4","instances":2,
 "env":[{"name":"LANG","value":"C"}],
 "setup":
    {"serial":{"actions":[{"download":{"from":"http://fs/x.tgz","to":"/tmp","cache_key":"x","user":"vcap"}}]}},
 "action":{"codependent":{"actions":[
    {"run":{"path":"/tmp/server","args":["-v"],"env":[{"name":"PORT","value":"8080"}],
            "resource_limits":{"nofile":1024},"user":"vcap","log_source":"APP"}},
    {"run":{"path":"/tmp/sshd","user":"vcap","suppress_log_output":true}}]}},
 "monitor":{"timeout":{"action":{"parallel":{"actions":[{"run":{"path":"/tmp/check","user":"vcap"}}]}},
     "timeout_ms":30000}},
 "check_definition":{"checks":[{"tcp_check":{"port":8080}}],
                     "readiness_checks":[{"http_check":{"port":8080,"path":"/ready"}}],"log_source":"HEALTH"},
 "start_timeout_ms":60000,"disk_mb":1024,"memory_mb":256,"cpu_weight":10,"privileged":false,"max_pids":100,
 "ports":[8080,2222],
 "routes":{"cf-router":[{"hostnames":["web.example.com"],"port":8080}],
     "internal-router":[{"hostname":"web.apps.internal"}]},
 "log_guid":"web-1","log_source":"CELL",
     "metric_tags":{"source_id":{"static":"web-1"},"instance_id":{"dynamic":"INDEX"}},
 "annotation":"free text",
 "egress_rules":[{"protocol":"tcp","destinations":["10.0.0.0/8"],"ports":[80,443],"log":false},
                 {"protocol":"icmp","destinations":["0.0.0.0/0"],"icmp_info":{"type":8,"code":0},"log":false}],
 "image_layers":[{"name":"bp","url":"http://fs/bp.tgz","destination_path":"/bp",
     "layer_type":"SHARED","media_type":"TGZ"}],
 "legacy_download_user":"vcap","trusted_system_certificates_path":"/etc/cf-system-certificates",
 "certificate_properties":{"organizational_unit":["app:1"]},
 "network":{"properties":{"policy_group_id":"1"}},
 "volume_mounts":[{"driver":"nfsv3driver","container_dir":"/data","mode":"rw",
     "shared":{"volume_id":"v","mount_config":"{}"}}],
 "placement_tags":[],"log_rate_limit":{"bytes_per_second":-1},
 "sidecars":[{"action":{"run":{"path":"/sc","user":"vcap"}},"memory_mb":32,"disk_mb":0}]}
"""

WRITTEN_BY_GO = """
{"process_guid":"p-1","domain":"d","rootfs":"preloaded:x","instances":2,"env":null,"action":{"timeout":{"action":{"try":
{"action":{"run":{"path":"ls","args":["-l"],"resource_limits":{},"user":"vcap","suppress_log_output":false,
"volume_mounted_files":null}}}},"timeout_ms":10000}},"start_timeout_ms":0,"disk_mb":0,"memory_mb":0,"cpu_weight":0,
"privileged":false,"ports":[8080,2222],"routes":{"cf-router":[{"hostnames":["a.b"],"port":8080}]},"log_source":"",
"log_guid":"","metrics_guid":"","annotation":"","egress_rules":[{"protocol":"tcp","destinations":["0.0.0.0/0"],
"ports":[80,443],"log":false},{"protocol":"icmp","destinations":["10.0.0.1"],"icmp_info":{"type":8,"code":-1},
"log":false}],"modification_tag":{"epoch":"ep","index":3},"volume_mounts":[{"driver":"dr","container_dir":"/d",
"mode":"r","shared":null,"dedicated":null}],"placement_tags":["t"],"max_pids":0,"check_definition":{"checks":
[{"http_check":{"port":1,"path":""}}],"log_source":""},"image_layers":[{"url":"u","destination_path":"/",
"layer_type":"SHARED","media_type":"TGZ"}],"metric_tags":{"source_id":{"static":"s"}},"log_rate_limit":
{"bytes_per_second":-1},"volume_mounted_files":null,"update_strategy":0}
"""


def test_what_go_writes_comes_back_byte_for_byte() -> None:
    assert dumps(loads(DesiredLRP, WRITTEN_BY_GO)) == WRITTEN_BY_GO.replace("\n", "")


def test_what_a_user_writes_survives() -> None:
    lrp = loads(DesiredLRP, CREATE)
    assert validate_desired_lrp(lrp) == []
    assert loads(DesiredLRP, dumps(lrp)) == lrp
    written = to_json(lrp)

    def held(asked: Any, got: Any) -> bool:
        """Every key of the request is in what we write, empty lists aside."""
        if isinstance(asked, dict):
            return all(held(asked[key], got[key]) for key in asked if asked[key] != [])
        if isinstance(asked, list):
            return len(asked) == len(got) and all(map(held, asked, got))
        return bool(asked == got)

    assert held(json.loads(CREATE), written)


def test_json_and_protobuf_agree() -> None:
    lrp = loads(DesiredLRP, CREATE)
    assert to_json(to_model(to_wire(lrp))) == to_json(lrp)


class TestReading:
    def test_keys_in_any_case_and_unknown_ones(self) -> None:
        key = from_json(ActualLRPKey, {"Process_GUID": "p", "INDEX": 3, "colour": "red"})
        assert key == ActualLRPKey(process_guid="p", index=3)

    def test_null_is_absent(self) -> None:
        assert from_json(DesiredLRP, {"env": None, "instances": None, "action": None}) == DesiredLRP()

    @pytest.mark.parametrize(
        ("cls", "value", "path", "words"),
        [
            (DesiredLRP, [], "$", "expected an object, got a list"),
            (DesiredLRP, {"instances": "5"}, "$.instances", 'got the string "5"'),
            (DesiredLRP, {"instances": 5.0}, "$.instances", "got the number 5.0"),
            (DesiredLRP, {"instances": True}, "$.instances", "got true"),
            (DesiredLRP, {"instances": 2**31}, "$.instances", "to 2147483647"),
            (DesiredLRP, {"ports": [1, -1]}, "$.ports[1]", "from 0 to 4294967295"),
            (DesiredLRP, {"ports": {"0": 1}}, "$.ports", "a list"),
            (DesiredLRP, {"privileged": 1}, "$.privileged", "true or false"),
            (DesiredLRP, {"domain": 1}, "$.domain", "a string"),
            (DesiredLRP, {"env": [None]}, "$.env[0]", "got null"),
            (DesiredLRP, {"update_strategy": "ROLLING"}, "$.update_strategy", "the numbers 0, 1"),
            (DesiredLRP, {"update_strategy": True}, "$.update_strategy", "the numbers 0, 1"),
            (DesiredLRP, {"image_layers": [{"layer_type": "shared"}]},
             "$.image_layers[0].layer_type", "SHARED"),
            (DesiredLRP, {"routes": {"r": None}}, "$.routes.r", "any JSON value but null"),
            (DesiredLRP, {"routes": []}, "$.routes", "an object"),
            (DesiredLRP, {"routes": {"r": float("nan")}}, "$.routes.r", "a value JSON can hold"),
            (DesiredLRP, {"metric_tags": {"t": {"dynamic": 1}}}, "$.metric_tags.t.dynamic", "INDEX"),
            (DesiredLRP, {"network": {"properties": {"a": 1}}}, "$.network.properties.a", "a string"),
            (DesiredLRP, {"Action": {"Serial": {"actions": [{"run": {"path": 1}}]}}},
             "$.Action.Serial.actions[0].run.path", "a string"),
            (DesiredLRP, {"action": []}, "$.action", "an action"),
            (ActualLRP, {"presence": "evacuating"}, "$.presence", "EVACUATING"),
            (ActualLRP, {"OptionalRoutable": True}, "$.OptionalRoutable", "an object or null"),
            (ActualLRP, {"OptionalRoutable": {"routable": 1}}, "$.OptionalRoutable.routable", "true or"),
            (Task, {"state": "PENDING"}, "$.state", "Pending"),
            (Task, {"memory_mb": "1"}, "$.memory_mb", "a whole number"),
        ],
    )  # fmt: skip
    def test_refused(self, cls: type, value: Any, path: str, words: str) -> None:
        with pytest.raises(InvalidDocument) as caught:
            from_json(cls, value)
        assert caught.value.path == path
        assert words in str(caught.value)

    def test_unknown_dynamic_value_reads_as_none(self) -> None:
        assert from_json(MetricTagValue, {"dynamic": "HOST"}) == MetricTagValue()
        assert from_json(MetricTagValue, {"dynamic": "INDEX"}) == MetricTagValue(dynamic=DynamicValue.INDEX)

    def test_update_strategy_is_a_number(self) -> None:
        lrp = from_json(DesiredLRP, {"update_strategy": 1})
        assert lrp.update_strategy is UpdateStrategy.RECREATE
        assert to_json(lrp)["update_strategy"] == 1

    @pytest.mark.parametrize(
        "text", ["", "{", "nope", '{"instances": NaN}', '{"routes": {"a": -Infinity}}', "[" * 100_000]
    )
    def test_text_that_is_not_json(self, text: str) -> None:
        with pytest.raises(InvalidDocument):
            loads(DesiredLRP, text)

    def test_trees_too_deep(self) -> None:
        tree: dict[str, Any] = {"run": {}}
        for _ in range(5000):
            tree = {"try": {"action": tree}}
        with pytest.raises(InvalidDocument, match="too deep"):
            action_from_json(tree)
        with pytest.raises(InvalidDocument, match="too deep"):
            from_json(DesiredLRP, {"action": tree})

    def test_half_a_surrogate_pair_is_no_text(self) -> None:
        assert loads(TaskDefinition, '{"annotation": "a\\ud800b"}').annotation == "a\ufffdb"
        assert loads(TaskDefinition, '{"annotation": "\\ud83d\\ude00"}').annotation == "\U0001f600"


class TestActionWrapper:
    @pytest.mark.parametrize("value", [{}, {"unknown": {}}, {"run": None}])
    def test_no_member(self, value: Any) -> None:
        assert action_from_json(value) == EmptyAction()

    def test_the_first_of_several_counts(self) -> None:
        assert action_from_json({"try": {}, "run": {"path": "p"}}) == RunAction(path="p")
        assert action_from_json({"run": {"path": "p"}, "download": {}}) == DownloadAction()

    def test_written(self) -> None:
        assert action_to_json(EmptyAction()) == {}
        assert action_to_json(TimeoutAction(action=EmptyAction(), timeout_ms=1)) == {
            "timeout": {"action": {}, "timeout_ms": 1}
        }


class TestWriting:
    @pytest.mark.parametrize(
        ("routable", "of_lrp", "of_info"),
        [
            (None, None, None),
            (True, {"routable": True}, {"Routable": True}),
            (False, {"routable": False}, {}),
        ],
    )
    def test_routable(self, routable: bool | None, of_lrp: Any, of_info: Any) -> None:
        lrp, info = ActualLRP(routable=routable), ActualLRPInfo(routable=routable)
        assert to_json(lrp)["OptionalRoutable"] == of_lrp
        assert to_json(info)["OptionalRoutable"] == of_info
        assert from_json(ActualLRP, to_json(lrp)) == lrp
        assert from_json(ActualLRPInfo, to_json(info)) == info

    def test_optional_numbers_are_there_when_set(self) -> None:
        assert to_json(DesiredLRPUpdate(instances=0, annotation="")) == {"instances": 0, "annotation": ""}
        assert to_json(DesiredLRPUpdate(routes={})) == {"routes": {}}
        assert to_json(DesiredLRPUpdate()) == {}
        assert to_json(ResourceLimits(nofile=0)) == {"nofile": 0}

    def test_nulls(self) -> None:
        out = to_json(DesiredLRP())
        assert [out[key] for key in ("env", "volume_mounted_files")] == [None, None]
        assert "routes" not in out
        assert to_json(ActualLRP())["ports"] is None
        assert to_json(DesiredLRPSchedulingInfo())["routes"] is None
        assert to_json(VolumeMount())["shared"] is None
        assert to_json(PortRange()) == {"start": 0, "end": 0}

    def test_a_damaged_task_has_no_definition(self) -> None:
        task = Task(task_guid="t")
        assert "rootfs" not in to_json(task)
        assert from_json(Task, to_json(task)) == task

    def test_changed_event_is_flat(self) -> None:
        event = ActualLRPInstanceChangedEvent(after=ActualLRPInfo(presence=Presence.SUSPECT))
        out = to_json(event)
        assert out["process_guid"] == out["instance_guid"] == ""
        assert out["after"]["presence"] == "SUSPECT"
        assert "before" not in out

    def test_callback(self) -> None:
        assert list(to_json(TaskCallbackResponse())) == [
            "task_guid",
            "failed",
            "failure_reason",
            "result",
            "created_at",
        ]

    def test_routes_that_are_not_json(self) -> None:
        with pytest.raises(InvalidDocument):
            to_json(DesiredLRP(routes={"r": b"{"}))


JSON_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner | st.none()) | st.dictionaries(st.text(), inner | st.none()),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3))
def test_any_route_data_survives(routes: dict[str, Any]) -> None:
    lrp = from_json(DesiredLRP, {"routes": routes})
    assert parse(dumps(lrp))["routes"] == routes


TEXTS = st.text(max_size=5)
RUNS = st.builds(RunAction, path=TEXTS, args=st.lists(TEXTS, max_size=2).map(tuple), user=TEXTS)
TREES = st.recursive(
    RUNS,
    lambda inner: (
        st.builds(TryAction, action=inner, log_source=TEXTS)
        | st.builds(EmitProgressAction, action=inner, start_message=TEXTS)
        | st.builds(TimeoutAction, action=inner, timeout_ms=st.integers(-(2**63), 2**63 - 1))
        | st.builds(SerialAction, actions=st.lists(inner, max_size=3).map(tuple))
        | st.builds(ParallelAction, actions=st.lists(inner, max_size=3).map(tuple))
        | st.builds(CodependentAction, actions=st.lists(inner, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@given(TREES)
def test_any_action_tree_survives(action: Action) -> None:
    assert action_from_json(parse(compact(action_to_json(action)))) == action
