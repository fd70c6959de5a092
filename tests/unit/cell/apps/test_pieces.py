"""Decisions of pushing: image references, failure reasons, results, names, access to an instance."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization

from bbs.models.actions import RunAction
from bbs.models.actual_lrp import ActualLRP, ActualLRPKey, ActualLRPNetInfo, PortMapping
from bbs.models.desired_lrp import DesiredLRP
from cell.apps.images import Configuration, rootfs
from cell.apps.lookup import app_name
from cell.apps.recipes import classic, lrp
from cell.apps.recipes.values import App, Asset, Droplet, Keys, Process, Sidecar
from cell.apps.running import AllRunning, Failed, Waiting, address, classify
from cell.apps.ssh import generate_keys, public_line_of, ssh_target
from cell.apps.stagingresult import StagingFailed, StagingResult, failure_name
from cell.client.session import CommandFailed
from cell.client.target import BadArguments

pytestmark = pytest.mark.unit

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("busybox", "docker:///library/busybox"),
        ("cloudfoundry/grace:v1", "docker:///cloudfoundry/grace#v1"),
        ("docker.io/busybox", "docker://docker.io/library/busybox"),
        ("reg.example.com:5000/a/b:1.2", "docker://reg.example.com:5000/a/b#1.2"),
        ("localhost/x1", "docker://localhost/x1"),
        (f"a/b@sha256:{HEX}", f"docker:///a/b@sha256#{HEX}"),
        (f"a/b:v1@sha256:{HEX}", f"docker:///a/b#v1@sha256:{HEX}"),
    ],
)
def test_image_references(reference: str, uri: str) -> None:
    assert rootfs(reference) == uri


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("docker://x/y", "Docker URI [docker://x/y] should not contain scheme"),
        ("team/App", "Invalid image name [team/App]"),
        ("team/app:v 1", "Invalid image tag [v 1]"),
        ("team/app@sha256:12", "Invalid image tag [sha256:12]"),
    ],
)
def test_bad_image_references(reference: str, text: str) -> None:
    with pytest.raises(BadArguments) as bad:
        rootfs(reference)
    assert str(bad.value) == text


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("{}", Configuration("root", (8080,))),
        ('{"user":"app","ports":[{"Port":53,"Protocol":"udp"},{"Port":9000,"Protocol":"tcp"}]}',
         Configuration("app", (9000,))),
    ],
)  # fmt: skip
def test_an_images_configuration(metadata: str, expected: Configuration) -> None:
    assert Configuration.read(metadata) == expected


def test_an_image_with_udp_ports_only() -> None:
    with pytest.raises(BadArguments, match="No tcp ports found in image metadata"):
        Configuration.read('{"ports":[{"Port":53,"Protocol":"udp"}]}')


def row(
    index: int,
    state: str,
    *,
    placement_error: str = "",
    crash_count: int = 0,
    crash_reason: str = "",
    net: ActualLRPNetInfo | None = None,
) -> ActualLRP:
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(index=index),
        state=state,
        placement_error=placement_error,
        crash_count=crash_count,
        crash_reason=crash_reason,
        actual_lrp_net_info=net or ActualLRPNetInfo(),
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], Waiting(0)),
        ([row(0, "RUNNING"), row(1, "CLAIMED")], Waiting(1)),
        ([row(1, "RUNNING"), row(0, "RUNNING")], AllRunning((row(0, "RUNNING"), row(1, "RUNNING")))),
        (
            [row(0, "RUNNING"), row(1, "UNCLAIMED", placement_error="found no compatible cell")],
            Failed("instance 1 was not placed: found no compatible cell"),
        ),
        (
            [row(0, "CLAIMED", crash_count=1, crash_reason="APP: Exited with status 4")],
            Failed("instance 0 crashed: APP: Exited with status 4"),
        ),
        ([row(0, "CRASHED")], Failed("instance 0 crashed: no reason given")),
    ],
)
def test_what_rows_mean_for_somebody_who_waits(
    rows: list[ActualLRP], verdict: Waiting | Failed | AllRunning
) -> None:
    assert classify(rows, 2) == verdict


def test_addresses() -> None:
    mapping = PortMapping(container_port=8080, host_port=61001)
    net = ActualLRPNetInfo(address="10.0.0.1", ports=(mapping, PortMapping(container_port=2222)))
    running = row(0, "RUNNING", net=net)
    assert address(running, 8080) == "10.0.0.1:61001"
    assert address(running, 2222) is None
    assert address(running, 1) is None


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("STG: Exited with status 222", "NoAppDetectedError"),
        ("STG: Exited with status 223", "BuildpackCompileFailed"),
        ("STG: Exited with status 224", "BuildpackReleaseFailed"),
        ("STG: Exited with status 225", "StagingError"),
        ("insufficient resources: memory", "InsufficientResources"),
        ("found no compatible cell for required rootfs", "NoCompatibleCell"),
        ("unable to communicate to compatible cells", "CellCommunicationError"),
    ],
)
def test_names_of_failures(reason: str, name: str) -> None:
    assert failure_name(reason) == name


def test_a_staging_result() -> None:
    text = (
        '{"process_types":{"web":"run"},"sidecars":['
        '{"name":"agent","process_types":["web"],"command":"./agent","memory":64},'
        '{"name":"other","process_types":["worker"],"command":"./other"}],'
        '"execution_metadata":"","lifecycle_metadata":{"buildpack_key":"k"}}'
    )
    found = StagingResult.read(text, "web")
    assert found.process_types == {"web": "run"}
    assert found.sidecars == (Sidecar(name="agent", command="./agent", memory_mb=64),)
    assert found.metadata == {"buildpack_key": "k"}


@pytest.mark.parametrize("text", ["", "[]", '{"sidecars":[{}]}'])
def test_a_result_that_is_none(text: str) -> None:
    with pytest.raises(StagingFailed, match="result cannot be read"):
        StagingResult.read(text, "web")


# -- keys and access -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys() -> Keys:
    return generate_keys()


def test_keys_have_the_forms_a_cloud_controller_gives_them(keys: Keys) -> None:
    assert keys.host_private.startswith("-----BEGIN RSA PRIVATE KEY-----\n")
    assert keys.user_public == f"{public_line_of(keys.user_private)}\n"
    assert [len(text) for text in (keys.host_md5, keys.host_sha1, keys.host_sha256)] == [47, 59, 44]
    blob = base64.b64decode(public_line_of(keys.host_private).split()[1])
    serialization.load_ssh_public_key(b"ssh-rsa " + base64.b64encode(blob))


@pytest.fixture
def process(keys: Keys) -> Process:
    return Process(app=App(guid="g", name="shop"), version="v", keys=keys, lifecycle_url="http://x/l.tgz")


DROPLET = Droplet(asset=Asset(url="http://x/d", sha256="00"), stack="cellfs")
OPEN = row(
    0,
    "RUNNING",
    net=ActualLRPNetInfo(address="10.0.0.1", ports=(PortMapping(container_port=2222, host_port=61002),)),
)


@pytest.mark.parametrize("recipe", [lrp.buildpack_lrp, classic.buildpack_lrp])
def test_both_forms_tell_the_apps_name_and_the_way_in(process: Process, keys: Keys, recipe: object) -> None:
    assert callable(recipe)
    app = recipe(process, DROPLET)
    assert app_name(app) == "shop"
    way = ssh_target("shop", app, 0, [OPEN])
    assert (way.host, way.port, way.private_key) == ("10.0.0.1", 61002, keys.user_private)
    assert way.host_key == public_line_of(keys.host_private)


def test_there_is_no_way_in(process: Process) -> None:
    app = lrp.buildpack_lrp(process, DROPLET)
    cases = [
        (lrp.buildpack_lrp(replace(process, keys=None), DROPLET), [OPEN], "runs without sshd"),
        (app, [], "instance 0 of shop is not running: it is not desired"),
        (app, [row(0, "CLAIMED")], "instance 0 of shop is not running: CLAIMED"),
        (app, [row(0, "RUNNING")], "has no mapped port"),
        (replace(app, routes={"diego-ssh": b"{}"}), [OPEN], "SSH route of shop cannot be used"),
    ]
    for lrp_of_app, rows, text in cases:
        with pytest.raises(CommandFailed, match=text):
            ssh_target("shop", lrp_of_app, 0, rows)


def test_an_lrp_that_is_no_app_has_no_name() -> None:
    assert app_name(DesiredLRP(action=RunAction(path="/bin/true"))) == ""
