"""Validation rules without a recording, as tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bbs.models.actions import DownloadAction, EmptyAction, RunAction, SerialAction, TimeoutAction, TryAction
from bbs.models.actual_lrp import ActualLRPKey
from bbs.models.cell import CellCapacity, CellPresence
from bbs.models.common import EnvironmentVariable, File, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP, DesiredLRPUpdate
from bbs.models.task import TaskDefinition
from bbs.models.validation import (
    validate_action,
    validate_actual_lrp_key,
    validate_cell_presence,
    validate_desired_lrp,
    validate_desired_lrp_update,
    validate_process_guids_request,
    validate_security_group_rule,
    validate_task_definition,
)
from bbs.models.workload import (
    CachedDependency,
    DedicatedDevice,
    DigestAlgorithm,
    ICMPInfo,
    ImageLayer,
    LayerType,
    MediaType,
    PortRange,
    SecurityGroupRule,
    VolumeMount,
)

pytestmark = pytest.mark.unit

RUN = RunAction(path="p", user="u")
LRP = DesiredLRP(
    process_guid="p",
    domain="d",
    root_fs="docker:///x",
    action=RUN,
    metric_tags={"source_id": MetricTagValue(static="p")},
)


def fields(*names: str) -> list[str]:
    return [f"Invalid field: {name}" for name in names]


@pytest.mark.parametrize(
    ("destination", "wrong"),
    [
        ("1.2.3.4", ""),
        ("::1", ""),
        ("::ffff:1.2.3.4", ""),
        ("01.2.3.4", "Invalid IP"),
        ("fe80::1%eth0", "Invalid IP"),
        ("", "Invalid IP"),
        ("1.2.3.4,", "Invalid IP"),
        ("1.2.3.4,x,y", "Invalid IP, Invalid IP"),
        ("1.2.3.4/0", ""),
        ("1.2.3.4/32", ""),
        ("1.2.3.4/33", "invalid CIDR address: 1.2.3.4/33"),
        ("1.2.3.4/255.0.0.0", "invalid CIDR address: 1.2.3.4/255.0.0.0"),
        ("1.2.3.4/+8", "invalid CIDR address: 1.2.3.4/+8"),
        ("1.2.3.4/", "invalid CIDR address: 1.2.3.4/"),
        ("x/8", "invalid CIDR address: x/8"),
        ("::/128", ""),
        ("::/129", "invalid CIDR address: ::/129"),
        ("1.2.3.4-1.2.3.4", ""),
        ("1.2.3.4-2.1.1.1", ""),
        ("1.2.3.4-1.1.9.1", "Invalid IP"),
        ("1.2.3.4-x", "Invalid IP"),
        ("-1.2.3.4", "Invalid IP"),
        ("::1-::2", ""),
        ("::2-::1", "Invalid IP"),
    ],
)
def test_destinations(destination: str, wrong: str) -> None:
    errors = validate_security_group_rule(SecurityGroupRule(protocol="all", destinations=(destination,)))
    assert errors == (fields(f"destinations [ {wrong} ]") if wrong else [])


@pytest.mark.parametrize(
    ("rule", "errors"),
    [
        (SecurityGroupRule(protocol="udp", ports=(1, 2)), []),
        (SecurityGroupRule(protocol="udp", port_range=PortRange(start=5, end=5)), []),
        (SecurityGroupRule(protocol="udp", port_range=PortRange(start=0, end=5)), fields("port_range")),
        (SecurityGroupRule(protocol="tcp", ports=(5, 0, 0)), fields("ports")),
        (SecurityGroupRule(protocol="icmpv6", icmp_info=ICMPInfo(type=-1, code=-1)), []),
        (SecurityGroupRule(protocol="icmpv6"), fields("icmpv6_info")),
        (SecurityGroupRule(protocol="icmp", ports=(1,), port_range=PortRange()),
         fields("port_range", "ports", "icmp_info")),
        (SecurityGroupRule(protocol="all", icmp_info=ICMPInfo()), fields("icmp_info")),
    ],
)  # fmt: skip
def test_rules(rule: SecurityGroupRule, errors: list[str]) -> None:
    assert validate_security_group_rule(replace(rule, destinations=("1.1.1.1",))) == errors


@pytest.mark.parametrize(
    ("action", "errors"),
    [
        (EmptyAction(), fields("inner-action")),
        (SerialAction(actions=(RUN, TryAction(action=EmptyAction()))), fields("inner-action")),
        (TimeoutAction(action=RunAction(), timeout_ms=-1), fields("path", "user", "timeout_ms")),
        (
            DownloadAction(from_="f", to="t", user="u", checksum_value="ab"),
            fields("checksum algorithm"),
        ),
        (
            DownloadAction(from_="f", to="t", user="u", checksum_value="ab", checksum_algorithm="sha256"),
            [],
        ),
    ],
)
def test_actions(action: Any, errors: list[str]) -> None:
    assert validate_action(action) == errors


@pytest.mark.parametrize(
    ("url", "valid"),
    [
        ("docker:///repo#tag", True),
        ("preloaded:cflinuxfs4", True),
        ("preloaded+layer:cflinuxfs4?layer=http://x&layer_path=/y", True),
        ("docker://registry:5000/repo#tag", True),
        ("docker://u:p%20w@registry/repo", True),
        ("docker://[::1]:5000/repo", True),
        ("preloaded:100%", True),
        ("1docker:x", False),
        ("docker", False),
        ("docker://registry:port/repo", False),
        ("docker://a b/repo", False),
        ("docker:///repo%zz", False),
        ("docker:///repo#%zz", False),
        ("docker:///re\npo", False),
    ],
)
def test_rootfs(url: str, valid: bool) -> None:
    errors = [] if valid else fields("rootfs")
    assert validate_desired_lrp(replace(LRP, root_fs=url)) == errors
    assert validate_task_definition(TaskDefinition(root_fs=url, action=RUN)) == errors


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, []),
        ({"process_guid": "p\n"}, fields("process_guid")),
        ({"annotation": "ä" * 5120}, []),
        ({"annotation": "ä" * 5120 + "x"}, fields("annotation")),
        ({"routes": {"a": b"x" * 131072}}, []),
        ({"routes": {"a": b"x" * 131072, "b": b"1"}}, fields("routes")),
        ({"volume_mounted_files": (File(path="a", content="x" * 2**20),)}, []),
        (
            {"volume_mounted_files": (File(path="a", content="x" * 2**20), File(path="b", content="y"))},
            fields("volumeMountedFiles"),
        ),
        ({"metrics_guid": "p"}, []),
        (
            {"metrics_guid": "p", "metric_tags": {"a": MetricTagValue(static="b")}},
            fields("metric_tags", "source_id should match metrics_guid"),
        ),
        (
            {"environment_variables": (EnvironmentVariable(name="a"), EnvironmentVariable(value="b"))},
            ["invalid field: name cannot be blank"],
        ),
        (
            {"volume_mounts": (VolumeMount(driver="d", mode="rw", dedicated=DedicatedDevice()),)},
            ["invalid volume_mount mounter id"],
        ),
        (
            {"cached_dependencies": (CachedDependency(to="t"), CachedDependency(from_="f"))},
            fields("cached_dependency", "from", "cached_dependency", "to"),
        ),
    ],
)
def test_desired_lrp(changes: dict[str, Any], errors: list[str]) -> None:
    assert validate_desired_lrp(replace(LRP, **changes)) == errors


LAYER = ImageLayer(
    url="u", destination_path="/d", layer_type=LayerType.SHARED, media_type=MediaType.TGZ, digest_value="ab"
)


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"digest_value": ""}, []),
        ({"digest_algorithm": DigestAlgorithm.SHA256}, []),
        ({}, fields("image_layer", "digest_algorithm")),
        ({"digest_algorithm": DigestAlgorithm.SHA512}, fields("image_layer", "digest_algorithm")),
        (
            {"digest_algorithm": DigestAlgorithm.SHA256, "digest_value": ""},
            fields("image_layer", "digest_value"),
        ),
    ],
)
def test_image_layers(changes: dict[str, Any], errors: list[str]) -> None:
    assert validate_desired_lrp(replace(LRP, image_layers=(replace(LAYER, **changes),))) == errors


@pytest.mark.parametrize(
    ("update", "errors"),
    [
        (None, []),
        (DesiredLRPUpdate(instances=0, annotation="", routes={}), []),
        (DesiredLRPUpdate(routes={"a": b"x" * 131073}), fields("routes")),
        (DesiredLRPUpdate(image_username="u"), fields("image_password")),
        (DesiredLRPUpdate(image_password="p", image_username=""), fields("image_username")),
    ],
)
def test_updates(update: DesiredLRPUpdate | None, errors: list[str]) -> None:
    assert validate_desired_lrp_update(update) == errors


CELL = CellPresence(
    cell_id="c",
    rep_address="http://a",
    rep_url="https://b",
    capacity=CellCapacity(memory_mb=1, disk_mb=0, containers=1),
)


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, []),
        ({"capacity": None, "rep_url": ""}, []),
        ({"cell_id": "", "rep_address": ""}, fields("cell_id", "rep_address")),
        ({"rep_url": "ftp://x"}, fields("rep_url")),
        ({"capacity": CellCapacity(disk_mb=-1)}, fields("memory_mb", "containers", "disk_mb")),
        ({"annotations": {"a": ""}}, fields("annotations")),
        ({"annotations": {"": "a"}}, fields("annotations")),
    ],
)
def test_cell_presence(changes: dict[str, Any], errors: list[str]) -> None:
    assert validate_cell_presence(replace(CELL, **changes)) == errors


def test_keys_and_guids() -> None:
    assert validate_actual_lrp_key(ActualLRPKey(index=-1)) == fields("process_guid", "index", "domain")
    assert validate_process_guids_request(["p"]) == []
    assert validate_process_guids_request([]) == ["process_guids must not be empty"]
