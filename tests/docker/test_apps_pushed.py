"""`cell push` of folders and images, up to an answer over the mapped port."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import APIClient

from cell.development.freeport import free_port
from cell.development.images import ensure_image
from cell.development.local import LocalCell, local_cell
from cell.examples import EXAMPLES
from tests.support.programs import start_cell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

PYTHON_APP = EXAMPLES / "apps" / "python"
STATIC_APP = EXAMPLES / "apps" / "static"


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


async def cell(at: LocalCell, *words: str | Path, path: str | None = None) -> Said:
    """A command as a user types it. path: of the programs it finds."""
    changed = {} if path is None else {"PATH": path}
    process = await start_cell(*map(str, words), "--state-dir", str(at.state_dir), **changed)
    out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def pushed(at: LocalCell, *words: str | Path) -> list[dict[str, Any]]:
    """The instances of an app that has to come up; with memory comes a share of a busy processor."""
    said = await cell(at, "push", *words, "-m", "1G", "--json")
    assert said.status == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


async def inside_once_it_listens(at: LocalCell, app: str, command: str) -> Said:
    """A command over ssh. An app is RUNNING when its own port answers; its daemon may take longer."""
    async with asyncio.timeout(60):
        while (said := await cell(at, "ssh", app, "-c", command)).status == 255:
            assert "refused" in said.err or "closed" in said.err or "reset" in said.err, said.err
    return said


async def answer(row: dict[str, Any]) -> str:
    url = f"http://{row['address']}:{row['ports'][0]['host_port']}/"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return (await response.text()).strip()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCell]:
    async with local_cell(tmp_path_factory.mktemp("cell"), arguments=["--allow-privileged"]) as running:
        yield running


async def test_an_app_from_a_folder_to_its_end(at: LocalCell) -> None:
    (first,) = await pushed(at, PYTHON_APP, "-n", "shop", "-e", "GREETING=hi")
    assert await answer(first) == "hello from Python, instance 0"

    look = "hostname; echo $GREETING; ls /etc/cf-assets/healthcheck/healthcheck; exit 7"
    inside = await inside_once_it_listens(at, "shop", look)
    assert inside.status == 7
    assert inside.out.split() == [first["instance_guid"], "hi", "/etc/cf-assets/healthcheck/healthcheck"]
    without_ssh = await cell(at, "ssh", "shop", "-c", "hostname; echo no >&2; exit 7", path="/nonexistent")
    assert (without_ssh.status, without_ssh.out) == (7, f"{first['instance_guid']}\n")
    assert without_ssh.err == "no\n"
    recent = await cell(at, "logs", "shop", "--recent", "--json")
    lines = [json.loads(line) for line in recent.out.splitlines()]
    assert "listening on 8080" in [line["message"] for line in lines]
    assert {"STG", "CELL", "APP/PROC/WEB"} <= {line["source_type"] for line in lines}

    (second,) = await pushed(at, PYTHON_APP, "-n", "shop")
    assert second["process_guid"] != first["process_guid"]
    assert second["process_guid"][:36] == first["process_guid"][:36]
    desired = await at.receptor.expect(200, "GET", "/v1/desired_lrps")
    assert [lrp["process_guid"] for lrp in desired] == [second["process_guid"]]

    assert (await cell(at, "scale", "shop", "2")).status == 0
    rows = await at.receptor.running(second["process_guid"], 2)
    assert [await answer(row) for row in rows] == [
        f"hello from Python, instance {index}" for index in range(2)
    ]
    assert (await cell(at, "delete", "shop")).status == 0
    gone = await cell(at, "ssh", "shop", "-c", "true")
    assert (gone.status, "'shop'" in gone.err) == (5, True)


async def test_assets_as_layers(at: LocalCell) -> None:
    for _ in range(2):  # the second time with what the first one left in its cache
        (row,) = await pushed(at, PYTHON_APP, "-n", "layered", "--layers")
        assert await answer(row) == "hello from Python, instance 0"
    lrp = json.loads((await cell(at, "lrps", row["process_guid"], "--desired", "--json")).out)
    assert [layer["name"] for layer in lrp["image_layers"]] == ["buildpack-cellfs-lifecycle", "droplet"]
    assert "setup" not in lrp
    assert "cached_dependencies" not in lrp
    inside = await inside_once_it_listens(at, "layered", "id -un")
    assert (inside.status, inside.out) == (0, "vcap\n")
    assert (await cell(at, "delete", "layered")).status == 0


async def test_in_the_form_of_2015(at: LocalCell) -> None:
    (row,) = await pushed(at, STATIC_APP, "-n", "old", "--classic")
    assert "hello from a static page" in await answer(row)
    inside = await inside_once_it_listens(at, "old", "id -un")
    assert (inside.status, inside.out) == (0, "vcap\n")
    assert (await cell(at, "delete", "old")).status == 0


async def test_a_version_that_crashes_leaves_the_one_before(at: LocalCell) -> None:
    (row,) = await pushed(at, STATIC_APP, "-n", "steady")
    said = await cell(at, "push", STATIC_APP, "-n", "steady", "-c", "echo no use; exit 4")
    assert said.status == 5
    assert "instance 0 crashed: APP/PROC/WEB: Exited with status 4" in said.err
    assert "no use" in said.err
    assert "The version before goes on." in said.err
    assert "hello from a static page" in await answer(row)
    desired = await at.receptor.expect(200, "GET", "/v1/desired_lrps")
    assert [lrp["process_guid"] for lrp in desired] == [row["process_guid"]]
    assert (await cell(at, "delete", "steady")).status == 0


def buildpack(folder: Path, **scripts: str) -> Path:
    """A buildpack with the given scripts."""
    (folder / "bin").mkdir(parents=True)
    for name, text in scripts.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    return folder


async def test_buildpacks_that_fail_in_each_phase(at: LocalCell, tmp_path: Path) -> None:
    fine = {"detect": "echo fine", "compile": "true", "release": "echo 'default_process_types: {}'"}
    cases = {
        "detect": ("222", "NoAppDetectedError", "None of the buildpacks detected a compatible application"),
        "compile": ("223", "BuildpackCompileFailed", "Failed to compile droplet"),
        "release": ("224", "BuildpackReleaseFailed", "Failed to build droplet release"),
        "supply": ("225", "StagingError", "Failed to run all supply scripts"),
    }

    async def staged(phase: str) -> Said:
        failing = buildpack(tmp_path / phase, **{**fine, phase: "echo deliberately >&2; exit 3"})
        chosen: list[str | Path] = ["-b", failing]
        if phase == "detect":
            chosen.append("--detect")
        if phase == "supply":
            chosen += ["-b", buildpack(tmp_path / "last", **fine)]
        return await cell(at, "stage", STATIC_APP, "-n", phase, *chosen)

    for (phase, (status, name, text)), said in zip(
        cases.items(), await asyncio.gather(*map(staged, cases)), strict=True
    ):
        assert said.status == 5, phase
        assert f"Error: staging failed: STG: Exited with status {status} ({name})" in said.err
        assert text in said.err
        assert "deliberately" in said.err
    assert await at.receptor.expect(200, "GET", "/v1/tasks") == []


async def test_a_buildpack_without_start_command_is_staged_but_not_pushed(
    at: LocalCell, tmp_path: Path
) -> None:
    mute = buildpack(tmp_path / "mute", compile="true", release="echo 'default_process_types: {}'")
    said = await cell(at, "push", STATIC_APP, "-n", "mute", "-b", mute)
    assert said.status == 5
    assert "--command" in said.err


async def test_a_droplet_and_its_app_survive_a_restart_of_everything(tmp_path: Path) -> None:
    async with local_cell(tmp_path) as first:
        (row,) = await pushed(first, STATIC_APP, "-n", "kept")
        (droplet,) = (tmp_path / "static" / "droplets").iterdir()
    async with local_cell(tmp_path) as second:
        url = f"{second.endpoints['file_server']}/v1/static/droplets/{droplet.name}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert (response.status, await response.read()) == (200, droplet.read_bytes())
        assert (await cell(second, "delete", row["process_guid"])).status == 0


# -- an image from a registry ------------------------------------------------------------------------------


def host_address() -> str:
    """An address of this machine that containers reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry over HTTPS that the engine trusts; its ``host:port``."""
    host = f"{host_address()}:{free_port()}"
    cert_file, key_file = certificate(folder, host.partition(":")[0])
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": host, "tls": {"certificate": str(cert_file), "key": str(key_file)}},
    }
    (folder / "registry.yml").write_text(json.dumps(config))
    trusted = Path("/etc/docker/certs.d", host)
    trusted.mkdir(parents=True)
    try:
        shutil.copy(cert_file, trusted / "ca.crt")
        with (folder / "registry.log").open("wb") as log:
            server = subprocess.Popen(
                ["docker-registry", "serve", folder / "registry.yml"], stdout=log, stderr=log
            )
        try:
            wait_for(host, ssl.create_default_context(cafile=str(cert_file)))
            yield host
        finally:
            server.terminate()
            server.wait()
    finally:
        shutil.rmtree(trusted)


def wait_for(host: str, context: ssl.SSLContext) -> None:
    address, _, port = host.partition(":")
    for _ in range(200):
        try:
            with (
                socket.create_connection((address, int(port)), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=address),
            ):
                return
        except ConnectionRefusedError:
            pause()
    raise AssertionError(f"nobody listens on {host}")


def pause() -> None:
    """A moment for another process."""
    subprocess.run(["sleep", "0.05"], check=True)


@pytest.mark.parametrize("form", [[], ["--classic"]], ids=["today", "2015"])
async def test_an_image_from_its_registry(
    at: LocalCell, docker_client: APIClient, tmp_path: Path, unique: str, form: list[str]
) -> None:
    ensure_image(docker_client, "diego-cell/busybox:latest", tmp_path)
    with registry(tmp_path) as host:
        repository = f"{host}/{unique}/web"
        made = docker_client.create_container("diego-cell/busybox:latest", "x")
        settings = {
            "Cmd": ["echo a picture of health > index.html; exec httpd -f -p $PORT -h /tmp"],
            "Entrypoint": ["/bin/sh", "-c"],
            "ExposedPorts": {"9000/tcp": {}},
            "User": "vcap",
            "WorkingDir": "/tmp",
        }
        docker_client.commit(made, repository, "v1", conf=settings)
        docker_client.remove_container(made)
        docker_client.push(repository, "v1")
        docker_client.remove_image(f"{repository}:v1")
        try:
            (row,) = await pushed(
                at, "--docker-image", f"{repository}:v1", "--insecure-registry", host, *form
            )
            assert row["ports"][0]["container_port"] == 9000
            assert await answer(row) == "a picture of health"
            inside = await inside_once_it_listens(at, "web", "id -un; pwd")
            assert inside.out.split()[0] == "vcap"
            assert (await cell(at, "delete", "web")).status == 0
            await at.receptor.until("/v1/actual_lrps", lambda rows: rows == [], what="its end")
        finally:
            docker_client.remove_image(f"{repository}:v1", force=True)


async def test_an_image_nobody_has(at: LocalCell) -> None:
    said = await cell(at, "push", "--docker-image", "127.0.0.1:9/none/such:v1")
    assert said.status == 5
    assert "Exited with status 2 (StagingError)" in said.err
    assert "none/such" in said.err
