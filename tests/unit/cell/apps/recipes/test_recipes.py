"""Recipes, compared with samples of a Cloud Controller of today and of 2015."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bbs.models.codec import to_json
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.documents import read_desired_lrp, read_task
from bbs.models.task import TaskDefinition
from bbs.models.validation import validate_desired_lrp, validate_task_definition
from bbs.models.workload import (
    DigestAlgorithm,
    ICMPInfo,
    ImageLayer,
    LayerType,
    MediaType,
    PortRange,
    SecurityGroupRule,
)
from cell.apps.recipes import classic, lrp, staging
from cell.apps.recipes.parts import cpu_weight
from cell.apps.recipes.values import (
    App,
    Asset,
    Buildpack,
    BuildpackStaging,
    DockerStaging,
    Droplet,
    HealthCheck,
    Image,
    Keys,
    Process,
    Sidecar,
    Staging,
    Uploads,
)
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "recipes"
APP_GUID = "6e1f3f0a-5a0c-4f0e-9a39-1f2d3c4b5a69"
VERSION = "0b9d9a3e-7b14-4a43-8d0e-3d2f1c0b9a87"
STAGING_GUID = "f2a7c1de-1111-4222-8333-444455556666"
FILE_SERVER = "https://file-server.service.cf.internal:8443/v1/static"
BLOBS = "https://blobstore.service.cf.internal:4443/signed"
CALLBACK = (
    f"https://cloud-controller-ng.service.cf.internal:9023/internal/v3/staging/{STAGING_GUID}"
    "/build_completed?start=true"
)
CC = "https://cloud-controller-ng.service.cf.internal:9023/internal/v4"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----\n"
KEYS = Keys(
    host_private=PEM,
    user_private=PEM,
    user_public="ssh-rsa AAAAB3NzaC1yc2E...\n",
    host_sha1="13:fb:d7:9c:3d:39:0e:5d:65:85:a2:1e:11:ff:5e:c1:97:0c:ff:0c",
    host_sha256="glTDKakoUPbVOd03b0gW7idkUX2l4CNVFK9DMWRIDXo=",
    host_md5="8c:e4:b1:6b:22:b5:88:94:aa:86:c4:21:e8:75:9d:f3",
)
ANYWHERE_BELOW_TEN = SecurityGroupRule(
    protocol="all", destinations=("0.0.0.0-9.255.255.255",), annotations=("security_group_id:1f0e",)
)
DNS = SecurityGroupRule(protocol="tcp", destinations=("0.0.0.0/0",), ports=(53,))
RULES = (
    ANYWHERE_BELOW_TEN,
    DNS,
    SecurityGroupRule(protocol="udp", destinations=("0.0.0.0/0",), port_range=PortRange(start=53, end=53)),
    SecurityGroupRule(
        protocol="icmp", destinations=("10.0.0.0/16",), icmp_info=ICMPInfo(type=8, code=0), log=True
    ),
)
APP = App(
    guid=APP_GUID,
    name="shop",
    memory_mb=1024,
    disk_mb=2048,
    uris=("shop.example.com",),
    space_id="5ace",
    space_name="dev",
    organization_id="0e90",
    organization_name="acme",
    api_url="https://api.example.com",
)
RUNNING_APP = replace(APP, env={"GREETING": "hi"})
STAGING = Staging(
    guid=STAGING_GUID,
    app=APP,
    stack="cflinuxfs4",
    lifecycle_url=f"{FILE_SERVER}/buildpack_app_lifecycle/buildpack_app_lifecycle.tgz",
    egress_rules=RULES,
    platform_options='{"credhub-uri":"https://credhub.service.cf.internal:8844"}',
    callback_url=CALLBACK,
)
BUILDPACKS = (
    Buildpack(
        key="ruby_key",
        name="ruby_buildpack",
        asset=Asset(
            url=f"{BLOBS}/ruby.zip",
            sha256="b9138194ffe9e7c8bb6d79d1ed56259553d18d9cb60b66e3ba5aa2e5b078055a",
        ),
    ),
    Buildpack(
        key="nodejs_key",
        name="nodejs_buildpack",
        asset=Asset(
            url=f"{BLOBS}/nodejs.zip",
            sha256="545ea538461003efdc8c81c244531b003f6f26cfccf6c0073b3239fdedf49446",
        ),
    ),
)
FROM_A_FOLDER = BuildpackStaging(
    package=Asset(
        url=f"{BLOBS}/app-package",
        sha256="a172cedcae47474b615c54d510a5d84a8dea3032e958587430b413538be3f333",
    ),
    buildpacks=BUILDPACKS,
    uploads=Uploads(
        uploader="https://cc-uploader.service.cf.internal:9091",
        droplet_uri=f"{CC}/droplets/{STAGING_GUID}/upload",
        cache_uri=f"{CC}/buildpack_cache/cflinuxfs4/{APP_GUID}/upload",
    ),
    skip_detect=False,
    cache=Asset(
        url=f"{BLOBS}/cache", sha256="5e1ecee06a7fc06f305ae5c12acfe7a7f67b8ece7af76932ed3afab00c3c6921"
    ),
)
FROM_AN_IMAGE = DockerStaging(
    image="registry.example.com:5000/team/shop:v3",
    insecure_registries=("registry.example.com:5000",),
    username="puller",
    password="secret",
)
CF_ROUTE = {
    "hostnames": ["shop.example.com"],
    "port": 8080,
    "route_service_url": None,
    "isolation_segment": None,
    "protocol": "http1",
}
WEB = Process(
    app=RUNNING_APP,
    version=VERSION,
    instances=2,
    execution_metadata='{"start_command":"bundle exec rackup"}',
    sidecars=(Sidecar(name="agent", command="./agent", memory_mb=64),),
    health=HealthCheck(timeout_s=5),
    keys=KEYS,
    routes={
        "cf-router": [CF_ROUTE],
        "tcp-router": [{"router_group_guid": "rg-1", "external_port": 61001, "container_port": 8080}],
        "internal-router": [{"hostname": "shop.apps.internal"}],
    },
    lifecycle_url=f"{FILE_SERVER}/buildpack_app_lifecycle/buildpack_app_lifecycle.tgz",
    egress_rules=RULES,
    annotation="1726000000.123456",
)
DROPLET = Droplet(
    asset=Asset(
        url=f"{BLOBS}/droplet", sha256="7becf04360b642f45b6fb7f7ce10dadfc51bd5b6154373065ee35e690ed37c63"
    ),
    stack="cflinuxfs4",
)
DOCKER_WEB = replace(
    WEB,
    instances=1,
    execution_metadata='{"cmd":["-p","8080"],"entrypoint":["/server"],'
    '"ports":[{"Port":8080,"Protocol":"tcp"}],"user":"app"}',
    sidecars=(),
    health=HealthCheck(kind="http", path="/health", timeout_s=5, readiness_path="/ready"),
    routes={"cf-router": [CF_ROUTE], "tcp-router": [], "internal-router": []},
    lifecycle_url=f"{FILE_SERVER}/docker_app_lifecycle/docker_app_lifecycle.tgz",
    egress_rules=RULES[:2],
)

OLD_FILE_SERVER = "http://file-server.service.cf.internal:8080/v1/static"
OLD_BLOBS = "http://blobstore.example"
OLD_CC = "http://user:pass@cc.example/staging"
OLD_STAGING = replace(
    STAGING,
    app=replace(APP, memory_mb=1024, disk_mb=1024),
    stack="cflinuxfs2",
    lifecycle_url=f"{OLD_FILE_SERVER}/buildpack_app_lifecycle/buildpack_app_lifecycle.tgz",
    egress_rules=(DNS,),
    callback_url=f"http://stager.service.cf.internal:8888/v1/staging/{STAGING_GUID}/completed",
    disk_mb=4096,
)
OLD_FOLDER = BuildpackStaging(
    package=Asset(url=f"{OLD_BLOBS}/app-package"),
    buildpacks=(
        replace(BUILDPACKS[0], asset=Asset(url=f"{OLD_BLOBS}/ruby.zip")),
        replace(BUILDPACKS[1], asset=Asset(url=f"{OLD_BLOBS}/nodejs.zip")),
    ),
    uploads=Uploads(
        uploader="http://cc-uploader.service.cf.internal:9090",
        droplet_uri=f"{OLD_CC}/droplets/{APP_GUID}/upload",
        cache_uri=f"{OLD_CC}/buildpack_cache/{APP_GUID}/upload",
    ),
    skip_detect=False,
    cache=Asset(url=f"{OLD_BLOBS}/cache"),
)
OLD_WEB = replace(
    WEB,
    app=replace(APP, disk_mb=1024),
    command="bundle exec rackup",
    routes={"cf-router": [{"hostnames": ["shop.example.com"], "port": 8080}]},
    lifecycle_url=f"{OLD_FILE_SERVER}/buildpack_app_lifecycle/buildpack_app_lifecycle.tgz",
    egress_rules=(DNS,),
    annotation="1440000000.123456",
)
OLD_DOCKER_WEB = replace(
    OLD_WEB,
    app=replace(APP, memory_mb=256, disk_mb=1024),
    instances=1,
    command="",
    execution_metadata='{"cmd":["/dockerapp"],"ports":[{"Port":8080,"Protocol":"tcp"}]}',
    routes={"cf-router": [{"hostnames": ["dock.example.com"], "port": 8080}]},
    lifecycle_url=f"{OLD_FILE_SERVER}/docker_app_lifecycle/docker_app_lifecycle.tgz",
    egress_rules=(),
)

RECIPES: dict[str, TaskDefinition | DesiredLRP] = {
    "staging_buildpack": staging.buildpack_staging(STAGING, FROM_A_FOLDER),
    "staging_docker": staging.docker_staging(
        replace(
            STAGING,
            lifecycle_url=f"{FILE_SERVER}/docker_app_lifecycle/docker_app_lifecycle.tgz",
            egress_rules=RULES[:2],
        ),
        FROM_AN_IMAGE,
    ),
    "lrp_buildpack": lrp.buildpack_lrp(WEB, DROPLET),
    "lrp_docker": lrp.docker_lrp(
        DOCKER_WEB,
        Image(
            rootfs="docker://registry.example.com:5000/team/shop#v3",
            user="app",
            username="puller",
            password="secret",
        ),
    ),
    "classic_staging_buildpack": classic.buildpack_staging(OLD_STAGING, OLD_FOLDER),
    "classic_staging_docker": classic.docker_staging(
        replace(
            OLD_STAGING, lifecycle_url=f"{OLD_FILE_SERVER}/docker_app_lifecycle/docker_app_lifecycle.tgz"
        ),
        DockerStaging(image="cloudfoundry/diego-docker-app:latest"),
    ),
    "classic_lrp_buildpack": classic.buildpack_lrp(
        OLD_WEB, Droplet(asset=Asset(url=f"{OLD_BLOBS}/droplet"), stack="cflinuxfs2")
    ),
    "classic_lrp_docker": classic.docker_lrp(
        OLD_DOCKER_WEB, Image(rootfs="docker:///cloudfoundry/diego-docker-app#latest")
    ),
}

SHORTENED = {"VCAP_APPLICATION": "{...}"}
"""Values the samples of 2015 leave out."""


def sample(name: str) -> Any:
    """What a sample says, in the one form of our models."""
    text = (GOLDEN / f"{name}.json").read_text()
    # samples shorten the version inside a text that has the whole of it elsewhere
    text = text.replace('version\\":\\"0b9d9a3e\\"', f'version\\":\\"{VERSION}\\"')
    if name == "classic_lrp_docker":  # its environment is that of a larger app
        text = text.replace("1024m", "256m")
    value = json.loads(text)
    model = read_task(value).definition if "task_guid" in value else read_desired_lrp(value)
    return to_json(model)


def shortened(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("name") in SHORTENED:
            return value | {"value": SHORTENED[value["name"]]}
        return {key: shortened(item) for key, item in value.items()}
    return [shortened(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_the_sample(name: str) -> None:
    made, wanted = to_json(RECIPES[name]), sample(name)
    if name.startswith("classic"):
        made, wanted = shortened(made), shortened(wanted)
    assert made == wanted


@pytest.mark.parametrize("name", RECIPES)
def test_a_bbs_takes_what_a_recipe_makes(name: str) -> None:
    made = RECIPES[name]
    refused = validate_desired_lrp(made) if isinstance(made, DesiredLRP) else validate_task_definition(made)
    assert refused == []


@pytest.mark.parametrize(("memory_mb", "weight"), [(64, 1), (128, 1), (1024, 12), (8192, 100), (9000, 100)])
def test_cpu_weight(memory_mb: int, weight: int) -> None:
    assert cpu_weight(memory_mb) == weight


@pytest.mark.parametrize(("memory_mb", "weight"), [(128, 1), (256, 1), (1024, 10), (8192, 100), (10000, 100)])
def test_cpu_weight_of_2015(memory_mb: int, weight: int) -> None:
    assert classic.cpu_weight(memory_mb) == weight


def test_a_process_without_port_has_no_checks() -> None:
    made = lrp.buildpack_lrp(replace(WEB, health=HealthCheck(kind="process"), keys=None), DROPLET)
    assert (made.monitor, made.check_definition) == (None, None)
    assert made.ports == (8080,)
    assert "diego-ssh" not in (made.routes or {})


def test_a_first_staging_has_no_cache_to_look_for() -> None:
    made = staging.buildpack_staging(STAGING, replace(FROM_A_FOLDER, cache=None))
    assert "/tmp/cache" not in str(to_json(made)["action"]["timeout"]["action"]["serial"]["actions"][0])


def test_a_custom_buildpack_is_named_and_left_to_the_builder() -> None:
    url = "https://example.com/buildpack.zip"
    what = replace(FROM_A_FOLDER, buildpacks=(Buildpack(key=url),), skip_detect=True)
    made = staging.buildpack_staging(STAGING, what)
    assert [each.cache_key for each in made.cached_dependencies] == ["buildpack-cflinuxfs4-lifecycle"]
    assert f"-buildpackOrder={url}" in str(made.action)
    announced = str(classic.buildpack_staging(OLD_STAGING, what).action)
    assert "No buildpack specified" not in announced
    assert url in announced


def layer(name: str, asset: Asset, to: str, kind: LayerType) -> ImageLayer:
    known = DigestAlgorithm.SHA256 if asset.sha256 else DigestAlgorithm.DigestAlgorithmInvalid
    return ImageLayer(
        name=name,
        url=asset.url,
        destination_path=to,
        layer_type=kind,
        media_type=asset.media,
        digest_algorithm=known,
        digest_value=asset.sha256,
    )


def bundle_layer(name: str, url: str) -> ImageLayer:
    return layer(name, Asset(url=url), "/tmp/lifecycle", LayerType.SHARED)


def test_a_staging_whose_assets_are_layers() -> None:
    """Nothing to download or to mount is left; all else is as without layers."""
    zipped = replace(FROM_A_FOLDER.package, media=MediaType.ZIP)
    what = replace(FROM_A_FOLDER, package=zipped)
    plain = staging.buildpack_staging(STAGING, what)
    layered = staging.buildpack_staging(replace(STAGING, layers=True), what)
    assert what.cache is not None
    ruby, nodejs = (buildpack.asset for buildpack in BUILDPACKS)
    assert ruby is not None
    assert nodejs is not None
    assert layered.image_layers == (
        bundle_layer("buildpack-cflinuxfs4-lifecycle", STAGING.lifecycle_url),
        layer("app package", zipped, "/tmp/app", LayerType.EXCLUSIVE),
        layer("build artifacts cache", what.cache, "/tmp/cache", LayerType.EXCLUSIVE),
        layer("ruby_buildpack", ruby, "/tmp/buildpacks/79b87779bbbd2d60", LayerType.SHARED),
        layer("nodejs_buildpack", nodejs, "/tmp/buildpacks/90aad80143b52c3a", LayerType.SHARED),
    )
    assert layered.cached_dependencies == ()
    before, after = (to_json(each)["action"]["timeout"]["action"]["serial"] for each in (plain, layered))
    assert list(before["actions"][0]) == ["parallel"]
    assert after["actions"] == before["actions"][1:]
    rest = replace(
        layered, image_layers=(), cached_dependencies=plain.cached_dependencies, action=plain.action
    )
    assert rest == plain
    validate_task_definition(layered)


def test_a_staging_without_cache_and_with_a_buildpack_that_the_builder_fetches() -> None:
    what = replace(FROM_A_FOLDER, cache=None, buildpacks=(Buildpack(key="https://git.example/b"),))
    layered = staging.buildpack_staging(replace(STAGING, layers=True), what)
    assert [each.name for each in layered.image_layers] == ["buildpack-cflinuxfs4-lifecycle", "app package"]


def test_an_image_is_staged_with_the_bundle_as_a_layer() -> None:
    layered = staging.docker_staging(replace(STAGING, layers=True), FROM_AN_IMAGE)
    assert layered.image_layers == (bundle_layer("docker-lifecycle", STAGING.lifecycle_url),)
    assert layered.cached_dependencies == ()


def test_a_droplet_is_a_layer() -> None:
    plain, layered = lrp.buildpack_lrp(WEB, DROPLET), lrp.buildpack_lrp(replace(WEB, layers=True), DROPLET)
    assert layered.image_layers == (
        bundle_layer("buildpack-cflinuxfs4-lifecycle", WEB.lifecycle_url),
        layer("droplet", DROPLET.asset, "/home/vcap", LayerType.EXCLUSIVE),
    )
    assert (layered.setup, layered.cached_dependencies) == (None, ())
    rest = replace(layered, image_layers=(), cached_dependencies=plain.cached_dependencies, setup=plain.setup)
    assert rest == plain
    validate_desired_lrp(layered)


def test_an_image_has_the_bundle_as_a_layer() -> None:
    layered = lrp.docker_lrp(replace(DOCKER_WEB, layers=True), Image(rootfs="docker:///library/redis"))
    assert layered.image_layers == (bundle_layer("docker-lifecycle", DOCKER_WEB.lifecycle_url),)
    assert layered.cached_dependencies == ()
