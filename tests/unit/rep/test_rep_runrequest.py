"""Run requests of the executor, from DesiredLRPs and Tasks."""

from __future__ import annotations

from typing import Any

import pytest

from bbs.models.actions import DownloadAction, ParallelAction, RunAction, SerialAction
from bbs.models.common import (
    CertificateProperties,
    DynamicValue,
    EnvironmentVariable,
    File,
    LogRateLimit,
    MetricTagValue,
    Network,
)
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import Task, TaskDefinition
from bbs.models.workload import (
    CachedDependency,
    CheckDefinition,
    DigestAlgorithm,
    ImageLayer,
    LayerType,
    MediaType,
    SharedDevice,
    Sidecar,
)
from bbs.models.workload import VolumeMount as DesiredMount
from executor.model import LogConfig, MetricsConfig, RunInfo, RunRequest, VolumeMount
from rep.rootfs import StackMap
from rep.runrequest import RunRequestBuilder, RunRequestError, internal_routes

pytestmark = pytest.mark.unit

STACKS = StackMap({"cflinuxfs4": "/stacks/cflinuxfs4.tar"})
BUILDER = RunRequestBuilder(stacks=STACKS)
RUN = RunAction(path="/app", user="vcap")
SHARED = ImageLayer(
    name="buildpack",
    url="http://files/bp.tgz",
    destination_path="/tmp/bp",
    layer_type=LayerType.SHARED,
    media_type=MediaType.TGZ,
)
DROPLET = ImageLayer(
    name="droplet",
    url="http://files/droplet.tgz?a=1&b=2",
    destination_path="/home/vcap",
    layer_type=LayerType.EXCLUSIVE,
    media_type=MediaType.TGZ,
    digest_algorithm=DigestAlgorithm.SHA256,
    digest_value="abc",
)
DROPLET_DOWNLOAD = DownloadAction(
    artifact="droplet",
    from_="http://files/droplet.tgz?a=1&b=2",
    to="/home/vcap",
    cache_key="sha256:abc",
    user="vcap",
    checksum_algorithm="sha256",
    checksum_value="abc",
)


def lrp(**values: Any) -> RunInfo:
    return BUILDER.for_lrp(DesiredLRP(process_guid="web", **values), 2, "ig").run_info


def task(**values: Any) -> RunRequest:
    return BUILDER.for_task(Task(task_guid="t", task_definition=TaskDefinition(**values)))


def test_an_lrp_with_everything() -> None:
    dependency = CachedDependency(name="dep", from_="http://x", to="/dep", cache_key="k")
    checks = CheckDefinition(log_source="HEALTH")
    info = lrp(
        root_fs="preloaded:cflinuxfs4",
        cpu_weight=50,
        ports=(8080, 65536 + 2222),
        routes={"internal-router": b'[{"hostname":"a.internal"},{"hostname":"b.internal"}]', "cf": b"{}"},
        log_guid="log",
        log_source="APP",
        metrics_guid="metrics",
        metric_tags={
            "source_id": MetricTagValue(static="app"),
            "instance_id": MetricTagValue(dynamic=DynamicValue.INDEX),
            "process_instance_id": MetricTagValue(dynamic=DynamicValue.INSTANCE_GUID),
        },
        start_timeout_ms=60000,
        privileged=True,
        cached_dependencies=(dependency,),
        setup=RunAction(path="/setup"),
        action=RUN,
        monitor=RunAction(path="/monitor"),
        check_definition=checks,
        environment_variables=(
            EnvironmentVariable(name="A", value="1"),
            EnvironmentVariable(name="INSTANCE_INDEX", value="mine"),
        ),
        trusted_system_certificates_path="/certs",
        volume_mounts=(
            DesiredMount(
                driver="nfs",
                container_dir="/data",
                mode="rw",
                shared=SharedDevice(volume_id="v1", mount_config='{"source":"nfs://x"}'),
            ),
        ),
        network=Network(properties={"policy_group_id": "x"}),
        certificate_properties=CertificateProperties(organizational_unit=("app:x",)),
        image_username="u",
        image_password="p",
        sidecars=(Sidecar(action=RUN, memory_mb=10),),
        log_rate_limit=LogRateLimit(bytes_per_second=100),
        volume_mounted_files=(File(path="f", content="c"),),
        image_layers=(SHARED, DROPLET),
        legacy_download_user="vcap",
    )
    tags = {"source_id": "app", "instance_id": "2", "process_instance_id": "ig"}
    shared = CachedDependency(
        name="buildpack", from_="http://files/bp.tgz", to="/tmp/bp", cache_key="http://files/bp.tgz"
    )
    assert info == RunInfo(
        root_fs="/stacks/cflinuxfs4.tar",
        cpu_weight=50,
        ports=(8080, 2222),
        internal_routes=("a.internal", "b.internal"),
        log_config=LogConfig(guid="log", index=2, source_name="APP", tags=tags),
        metrics_config=MetricsConfig(guid="metrics", index=2, tags=tags),
        start_timeout_ms=60000,
        privileged=True,
        cached_dependencies=(shared, dependency),
        setup=SerialAction(actions=(ParallelAction(actions=(DROPLET_DOWNLOAD,)), RunAction(path="/setup"))),
        action=RUN,
        monitor=RunAction(path="/monitor"),
        check_definition=checks,
        env=(
            ("INSTANCE_GUID", "ig"),
            ("INSTANCE_INDEX", "2"),
            ("CF_INSTANCE_GUID", "ig"),
            ("CF_INSTANCE_INDEX", "2"),
            ("A", "1"),
            ("INSTANCE_INDEX", "mine"),
        ),
        trusted_system_certificates_path="/certs",
        volume_mounts=(
            VolumeMount(
                driver="nfs",
                volume_id="v1",
                container_dir="/data",
                read_only=False,
                config={"source": "nfs://x"},
            ),
        ),
        network=Network(properties={"policy_group_id": "x"}),
        certificate_properties=CertificateProperties(organizational_unit=("app:x",)),
        image_username="u",
        image_password="p",
        sidecars=(Sidecar(action=RUN, memory_mb=10),),
        log_rate_limit_bytes_per_second=100,
        volume_mounted_files=(File(path="f", content="c"),),
    )


def test_an_lrp_with_nothing() -> None:
    info = lrp()
    assert info.cpu_weight == 1
    assert info.log_rate_limit_bytes_per_second == -1
    assert info.setup is None
    assert info.internal_routes == ()


def test_a_task() -> None:
    request = task(
        root_fs="docker:///org/image#tag",
        environment_variables=(EnvironmentVariable(name="A", value="1"),),
        action=RUN,
        result_file="/result",
        log_guid="log",
        metric_tags={"source_id": MetricTagValue(static="app")},
        image_layers=(DROPLET,),
        legacy_download_user="vcap",
        log_rate_limit=LogRateLimit(),
    )
    assert request.guid == "t"
    assert request.tags == {"result-file": "/result"}
    assert request.run_info == RunInfo(
        root_fs="docker:///org/image#tag",
        env=(("A", "1"),),
        action=RUN,
        setup=ParallelAction(actions=(DROPLET_DOWNLOAD,)),
        log_config=LogConfig(guid="log", tags={"source_id": "app"}),
        metrics_config=MetricsConfig(tags={"source_id": "app"}),
        log_rate_limit_bytes_per_second=0,
    )


def test_a_task_has_no_dynamic_metric_tags() -> None:
    with pytest.raises(RunRequestError, match="INDEX"):
        task(metric_tags={"instance_id": MetricTagValue(dynamic=DynamicValue.INDEX)})


def test_a_task_without_a_definition_cannot_run() -> None:
    with pytest.raises(RunRequestError, match="t has no definition"):
        BUILDER.for_task(Task(task_guid="t"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"root_fs": "preloaded:none"}, "preloaded rootfs path not found"),
        ({"root_fs": "preloaded+layer:none?layer=x"}, "preloaded rootfs path not found"),
        ({"volume_mounts": (DesiredMount(mode="rx"),)}, "unrecognized volume mount mode"),
        (
            {"volume_mounts": (DesiredMount(mode="r", shared=SharedDevice(mount_config="{")),)},
            "not JSON",
        ),
        (
            {"volume_mounts": (DesiredMount(mode="r", shared=SharedDevice(mount_config="[]")),)},
            "not a JSON object",
        ),
        ({"routes": {"internal-router": b"{nope"}}, "internal-router"),
        ({"routes": {"internal-router": b'[{"port":1}]'}}, "internal-router"),
    ],
)
def test_what_cannot_be_run_says_why(values: dict[str, Any], said: str) -> None:
    with pytest.raises(RunRequestError, match=said):
        lrp(**values)


@pytest.mark.parametrize("routes", [None, {}, {"cf": b"1"}, {"internal-router": b"null"}])
def test_no_internal_routes(routes: dict[str, bytes] | None) -> None:
    assert internal_routes(routes) == ()


@pytest.mark.parametrize(
    ("algorithm", "digest", "key"),
    [
        (DigestAlgorithm.DigestAlgorithmInvalid, "", "http://files/bp.tgz"),
        (DigestAlgorithm.SHA256, "abc", "sha256:abc"),
        (DigestAlgorithm.SHA512, "abc", "sha512:abc"),
    ],
)
def test_the_cache_key_of_a_shared_layer(algorithm: DigestAlgorithm, digest: str, key: str) -> None:
    layer = ImageLayer(
        url="http://files/bp.tgz",
        layer_type=LayerType.SHARED,
        digest_algorithm=algorithm,
        digest_value=digest,
    )
    (dependency,) = lrp(image_layers=(layer,)).cached_dependencies
    assert dependency.cache_key == key


def test_two_layer_mode_moves_the_first_fitting_layer_into_the_root_filesystem() -> None:
    builder = RunRequestBuilder(stacks=STACKS, layering_mode="two-layer")
    desired = DesiredLRP(root_fs="preloaded:cflinuxfs4", image_layers=(SHARED, DROPLET, DROPLET))
    info = builder.for_lrp(desired, 0, "ig").run_info
    assert info.root_fs == (
        "preloaded+layer:/stacks/cflinuxfs4.tar?layer=http%3A%2F%2Ffiles%2Fdroplet.tgz%3Fa%3D1%26b%3D2"
        "&layer_path=%2Fhome%2Fvcap&layer_digest=abc"
    )
    assert isinstance(info.setup, ParallelAction)
    assert len(info.setup.actions) == 1


@pytest.mark.parametrize("root_fs", ["docker:///x", "preloaded+layer:cflinuxfs4?x=1"])
def test_two_layer_mode_leaves_other_root_filesystems_alone(root_fs: str) -> None:
    builder = RunRequestBuilder(stacks=STACKS, layering_mode="two-layer")
    info = builder.for_lrp(DesiredLRP(root_fs=root_fs, image_layers=(DROPLET,)), 0, "ig").run_info
    assert isinstance(info.setup, ParallelAction)
