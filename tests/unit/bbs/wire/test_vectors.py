"""Messages of given content, compared with the bytes of the Go code."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from bbs.models.actions import ResourceLimits, RunAction, SerialAction, TimeoutAction, TryAction
from bbs.models.actual_lrp import (
    ActualLRP,
    ActualLRPInstanceKey,
    ActualLRPInternalRoute,
    ActualLRPKey,
    ActualLRPNetInfo,
    PortMapping,
    PreferredAddress,
)
from bbs.models.cell import CellCapacity, CellPresence, Provider
from bbs.models.common import LogRateLimit, MetricTagValue, ModificationTag
from bbs.models.desired_lrp import (
    DesiredLRP,
    DesiredLRPKey,
    DesiredLRPResource,
    DesiredLRPSchedulingInfo,
    DesiredLRPUpdate,
)
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import (
    ActualLRPCrashedEvent,
    ActualLRPInfo,
    ActualLRPInstanceChangedEvent,
    ActualLRPInstanceCreatedEvent,
)
from bbs.models.task import Task, TaskDefinition, TaskState
from bbs.models.workload import (
    Check,
    CheckDefinition,
    HTTPCheck,
    ICMPInfo,
    ImageLayer,
    LayerType,
    MediaType,
    SecurityGroupRule,
    VolumeMount,
    VolumePlacement,
)
from bbs.wire.mapping import decode, encode, error_to_model, error_to_wire, to_model, to_wire
from bbs.wire.proto.actual_lrp_requests_pb2 import ActualLRPsRequest, StartActualLRPRequest
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.proto.evacuation_pb2 import EvacuationResponse

pytestmark = pytest.mark.unit

ROUTES = {"cf-router": b'[{"hostnames":["a.b"],"port":8080}]'}
TAG = ModificationTag(epoch="ep", index=3)
INSTANCE_KEY = ActualLRPInstanceKey(instance_guid="ig", cell_id="cell")

UNCLAIMED = ActualLRP(
    actual_lrp_key=ActualLRPKey(process_guid="p-1", domain="d"), state="UNCLAIMED", since=123, routable=False
)
RUNNING = ActualLRP(
    actual_lrp_key=ActualLRPKey(process_guid="p-1", index=1, domain="d"),
    actual_lrp_instance_key=INSTANCE_KEY,
    actual_lrp_net_info=ActualLRPNetInfo(
        address="1.2.3.4",
        ports=(PortMapping(container_port=8080, host_port=60000),),
        instance_address="10.0.0.2",
        preferred_address=PreferredAddress.HOST,
    ),
    state="RUNNING",
    since=456,
    modification_tag=TAG,
    actual_lrp_internal_routes=(ActualLRPInternalRoute(hostname="h"),),
    metric_tags={"k": "v"},
    routable=True,
    availability_zone="z1",
)


def info(lrp: ActualLRP) -> ActualLRPInfo:
    return ActualLRPInfo(
        actual_lrp_net_info=lrp.actual_lrp_net_info,
        state=lrp.state,
        since=lrp.since,
        modification_tag=lrp.modification_tag,
        routable=lrp.routable,
        availability_zone=lrp.availability_zone,
    )


DESIRED = DesiredLRP(
    process_guid="p-1",
    domain="d",
    root_fs="preloaded:x",
    instances=2,
    action=TimeoutAction(
        action=TryAction(
            action=RunAction(path="ls", args=("-l",), resource_limits=ResourceLimits(), user="vcap")
        ),
        timeout_ms=10000,
    ),
    ports=(8080, 2222),
    routes=ROUTES,
    egress_rules=(
        SecurityGroupRule(protocol="tcp", destinations=("0.0.0.0/0",), ports=(80, 443)),
        SecurityGroupRule(protocol="icmp", destinations=("10.0.0.1",), icmp_info=ICMPInfo(type=8, code=-1)),
    ),
    modification_tag=TAG,
    volume_mounts=(VolumeMount(driver="dr", container_dir="/d", mode="r"),),
    placement_tags=("t",),
    check_definition=CheckDefinition(checks=(Check(http_check=HTTPCheck(port=1)),)),
    image_layers=(
        ImageLayer(url="u", destination_path="/", layer_type=LayerType.SHARED, media_type=MediaType.TGZ),
    ),
    metric_tags={"source_id": MetricTagValue(static="s")},
    log_rate_limit=LogRateLimit(bytes_per_second=-1),
)

VECTORS: dict[str, tuple[Any, str]] = {
    "DesiredLRP, defaults": (DesiredLRP(routes={}), "7a00"),
    "DesiredLRP, richer": (
        DESIRED,
        "0a03702d311201641a0b7072656c6f616465643a7820023a1d221b0a1632140a121a100a026c7312022d6c2a0032047663617020"
        "904e70903f70ae117a320a300a0963662d726f7574657212235b7b22686f73746e616d6573223a5b22612e62225d2c22706f7274"
        "223a383038307d5da201150a037463701209302e302e302e302f30185018bb03a2011f0a0469636d70120831302e302e302e312a"
        "0d080810ffffffffffffffffff01aa01060a0265701003ca010b0a0264721a022f64320172e20101748a02060a04120208019202"
        "0a1201751a012f200128019a02100a09736f757263655f696412030a0173aa020b08ffffffffffffffffff01",
    ),
    "SchedulingInfo, empty": (DesiredLRPSchedulingInfo(), "0a0022002a003200"),
    "SchedulingInfo": (
        DesiredLRPSchedulingInfo(
            desired_lrp_key=DesiredLRPKey(process_guid="p-1", domain="d"),
            instances=2,
            desired_lrp_resource=DesiredLRPResource(root_fs="preloaded:x"),
            routes=ROUTES,
            modification_tag=TAG,
            volume_placement=VolumePlacement(driver_names=("dr",)),
            placement_tags=("t",),
        ),
        "0a080a03702d311201641802220d1a0b7072656c6f616465643a782a320a300a0963662d726f7574657212235b7b2268"
        "6f73746e616d6573223a5b22612e62225d2c22706f7274223a383038307d5d32060a02657010033a040a026472420174",
    ),
    "ActualLRP, unclaimed": (UNCLAIMED, "0a080a03702d311a016412001a003209554e434c41494d4544407b4a006800"),
    "ActualLRP, running": (
        RUNNING,
        "0a0a0a03702d3110011a0164120a0a026967120463656c6c1a1e0a07312e322e332e34120708903f10e0d4031a083130"
        "2e302e302e322002320752554e4e494e4740c8034a060a02657010035a030a016862060a016b120176680172027a31",
    ),
    "ActualLRP, defaults": (ActualLRP(), "0a0012001a004a00"),
    "ActualLRPInstanceChangedEvent": (
        ActualLRPInstanceChangedEvent(
            actual_lrp_key=RUNNING.actual_lrp_key,
            actual_lrp_instance_key=INSTANCE_KEY,
            before=info(UNCLAIMED),
            after=info(RUNNING),
            trace_id="trace",
        ),
        "0a0a0a03702d3110011a0164120a0a026967120463656c6c1a131a003209554e434c41494d4544407b4a005800223a1a"
        "1e0a07312e322e332e34120708903f10e0d4031a0831302e302e302e322002320752554e4e494e4740c8034a060a0265"
        "701003580162027a312a057472616365",
    ),
    "ActualLRPInstanceCreatedEvent": (
        ActualLRPInstanceCreatedEvent(actual_lrp=UNCLAIMED),
        "0a1f0a080a03702d311a016412001a003209554e434c41494d4544407b4a006800",
    ),
    "ActualLRPCrashedEvent": (
        ActualLRPCrashedEvent(
            actual_lrp_key=UNCLAIMED.actual_lrp_key, actual_lrp_instance_key=INSTANCE_KEY, since=123
        ),
        "0a080a03702d311a0164120a0a026967120463656c6c287b",
    ),
    "Task": (
        Task(
            task_definition=TaskDefinition(
                root_fs="preloaded:x", action=SerialAction(actions=(RunAction(path="a", user="b"),))
            ),
            task_guid="t",
            domain="d",
            state=TaskState.Completed,
            failed=True,
            failure_reason="x",
        ),
        "0a1b0a0b7072656c6f616465643a781a0c420a0a081a060a01613201621201741a0164380350015a0178",
    ),
    "DesiredLRPUpdate, nothing set": (DesiredLRPUpdate(), ""),
    "DesiredLRPUpdate, zero and empty set": (
        DesiredLRPUpdate(instances=0, routes={"x": ROUTES["cf-router"]}, annotation=""),
        "0800122a0a280a017812235b7b22686f73746e616d6573223a5b22612e62225d2c22706f7274223a383038307d5d1a00",
    ),
    "CellPresence": (
        CellPresence(
            cell_id="c",
            rep_address="http://a",
            zone="z",
            capacity=CellCapacity(memory_mb=1, disk_mb=2, containers=3),
            rootfs_providers=(
                Provider(name="preloaded", properties=("cflinuxfs4",)),
                Provider(name="preloaded+layer", properties=("cflinuxfs4",)),
                Provider(name="extra"),
                Provider(name="docker"),
            ),
            placement_tags=("t",),
            rep_url="https://u",
        ),
        "0a01631208687474703a2f2f611a017a22060801100218032a170a097072656c6f61646564120a63666c696e75786673"
        "342a1d0a0f7072656c6f616465642b6c61796572120a63666c696e75786673342a070a0565787472612a080a06646f63"
        "6b6572320174420968747470733a2f2f75",
    ),
}

MESSAGES: dict[str, tuple[Message, str]] = {
    "ActualLRPsRequest": (ActualLRPsRequest(process_guid="p"), "1a0170"),
    "ActualLRPsRequest, index 0": (ActualLRPsRequest(process_guid="p", index=0), "1a01702000"),
    "StartActualLRPRequest, not routable": (StartActualLRPRequest(Routable=False), "3000"),
    "EvacuationResponse, do not keep": (EvacuationResponse(keep_container=False), ""),
}


@pytest.mark.parametrize(("model", "expected"), VECTORS.values(), ids=VECTORS)
def test_model(model: Any, expected: str) -> None:
    message = to_wire(model)
    assert encode(message).hex() == expected
    assert encode(to_wire(to_model(decode(type(message), bytes.fromhex(expected))))).hex() == expected


@pytest.mark.parametrize(("message", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_message(message: Message, expected: str) -> None:
    assert encode(message).hex() == expected
    assert decode(type(message), bytes.fromhex(expected)) == message


def test_error() -> None:
    error = BBSError(ErrorType.ResourceNotFound, "m")
    assert encode(error_to_wire(error)).hex() == "080d12016d"
    assert error_to_model(decode(Error, bytes.fromhex("080d12016d"))) == error
