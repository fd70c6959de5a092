"""`cell dev` end to end: documents over HTTP, real containers, mapped ports."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio
from cryptography import x509

from cell.development.local import LocalCell, local_cell, pack, processes
from tests.support.paths import GOLDEN_FILES

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

GOLDEN = GOLDEN_FILES / "documents"
GRACEFUL_SHUTDOWN_INTERVAL_S = 10.0

LAUNCHER = """#!/bin/sh
# A docker app's start: the image's command, which the metadata names.
exec /bin/sh -c "$(echo "$3" | sed -n 's/.*"cmd":\\["\\([^"]*\\)".*/\\1/p')"
"""
SSHD = """#!/bin/sh
# Stands in for an ssh daemon: something that listens on the second port and lives as long as the app.
exec nc -ll -p 2222 -e /bin/true
"""
HEALTHCHECK = """#!/bin/sh
exec nc -w 1 "$CF_INSTANCE_INTERNAL_IP" "${1#-port=}" </dev/null
"""


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cell(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalCell]:
    state = tmp_path_factory.mktemp("cell")
    lifecycle = tmp_path_factory.mktemp("lifecycle")
    for name, text in (("launcher", LAUNCHER), ("diego-sshd", SSHD), ("healthcheck", HEALTHCHECK)):
        _executable(lifecycle / name, text)
    pack(lifecycle, state / "static" / "docker_app_lifecycle" / "docker_app_lifecycle.tgz")
    # A rejected Task waits for the next pass of the control plane, three times.
    async with local_cell(state, arguments=["--convergence-interval", "0.5"]) as running:
        yield running


@pytest.fixture
def docker_app(cell: LocalCell) -> dict[str, Any]:
    """The 2015 example, with a root filesystem, a file server and a host key that exist here."""
    text = (GOLDEN / "desired_lrp_2015.json").read_text()
    text = text.replace("http://file-server.service.cf.internal:8080", cell.endpoints["file_server"])
    text = text.replace('"-hostKey="', '"-hostKey=none"').replace("/run.sh", "httpd -f -p 8080 -h /etc")
    document: dict[str, Any] = json.loads(text)
    document["rootfs"] = "preloaded:busybox"
    return document


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


def _address(row: dict[str, Any], container_port: int = 8080) -> str:
    (port,) = [p["host_port"] for p in row["ports"] if p["container_port"] == container_port]
    return f"{row['address']}:{port}"


def _is_httpd(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] == ["httpd"]
    except psutil.NoSuchProcess:  # a check that has ended meanwhile
        return False


async def test_the_2015_document_runs_crashes_comes_back_and_ends(
    cell: LocalCell, docker_app: dict[str, Any]
) -> None:
    guid = docker_app["process_guid"]
    receptor = cell.receptor
    await receptor.expect(201, "POST", "/v1/desired_lrps", docker_app)

    rows = await receptor.running(guid, 2)
    assert [row["index"] for row in rows] == [0, 1]
    for row in rows:
        assert [port["container_port"] for port in row["ports"]] == [8080, 2222]
        status, body = await _get(f"http://{_address(row)}/passwd")
        assert status == 200
        assert "vcap" in body

    (httpd,) = filter(_is_httpd, processes(rows[1]["instance_guid"]))
    httpd.send_signal(signal.SIGKILL)

    def back(row: dict[str, Any]) -> bool:
        return row["state"] == "RUNNING" and row["instance_guid"] != rows[1]["instance_guid"]

    row = await receptor.until(f"/v1/actual_lrps/{guid}/index/1", back, what="the restart")
    assert row["crash_count"] == 1
    assert "Exited with status 137" in row["crash_reason"]
    assert (await _get(f"http://{_address(row)}/passwd"))[0] == 200

    await receptor.expect(204, "DELETE", f"/v1/desired_lrps/{guid}")
    await receptor.until(
        f"/v1/actual_lrps/{guid}",
        lambda rows: rows == [],
        what="the instances to end",
        timeout_s=GRACEFUL_SHUTDOWN_INTERVAL_S,
    )


def _task(guid: str, script: str, **more: Any) -> dict[str, Any]:
    return {
        "task_guid": guid,
        "domain": "test",
        "rootfs": "preloaded:busybox",
        "action": {"run": {"path": "/bin/sh", "args": ["-c", script], "user": "vcap"}},
        "memory_mb": 32,
        "disk_mb": 32,
        "log_guid": guid,
        **more,
    }


async def _completed(cell: LocalCell, task: dict[str, Any]) -> dict[str, Any]:
    guid = task["task_guid"]
    await cell.receptor.expect(201, "POST", "/v1/tasks", task)
    done: dict[str, Any] = await cell.receptor.until(
        f"/v1/tasks/{guid}", lambda t: t.get("state") == "COMPLETED", what=f"the end of {guid}"
    )
    await cell.receptor.expect(200, "DELETE", f"/v1/tasks/{guid}")
    return done


async def test_a_task_ends_with_its_result(cell: LocalCell) -> None:
    done = await _completed(cell, _task("t-result", "id -un > /tmp/r", result_file="/tmp/r"))
    assert (done["failed"], done["failure_reason"], done["result"]) == (False, "", "vcap\n")


async def test_an_instance_has_an_identity(cell: LocalCell) -> None:
    done = await _completed(cell, _task("t-identity", "cat $CF_INSTANCE_CERT > /tmp/r", result_file="/tmp/r"))
    leaf, authority = x509.load_pem_x509_certificates(done["result"].encode())
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["t-identity"]
    trusted = (cell.state_dir / "tls" / "instance-ca.crt").read_bytes()
    assert authority == x509.load_pem_x509_certificate(trusted)


async def test_a_failing_task_says_how_it_ended(cell: LocalCell) -> None:
    done = await _completed(cell, _task("t-fails", "exit 3", log_source="JOB"))
    assert (done["failed"], done["failure_reason"]) == (True, "JOB: Exited with status 3")


async def test_the_pages_show_a_task_with_its_steps_story_and_log(cell: LocalCell) -> None:
    await _completed(cell, _task("seen", "echo hello; exit 3", log_source="TASK"))
    async with aiohttp.ClientSession() as session:

        async def read(url: str) -> dict[str, Any]:
            async with session.get(url) as response:
                assert response.status == 200
                document: dict[str, Any] = await response.json()
                return document

        for page in (cell.endpoints["page"].rstrip("/"), f"{cell.cells[0]['admin']}/page"):
            news = await read(f"{page}/containers/seen")
            (step,) = news["steps"]
            assert (step["path"], step["state"], step["exit"]) == ("action/run", "failed", 3)
            whats = [moment["what"] for moment in news["moments"]]
            assert whats[:4] == ["reserved", "initializing", "created", "running"]
            assert "hello" in [line[3] for line in news["lines"]]
            tables = (await read(f"{page}/state"))["tables"]
            assert [row["state"] for row in tables["cells"]] == ["ok"]
            assert "seen" in [row["guid"] for row in tables["activity"]]
            status, body = await _get(f"{page}/")
            assert (status, "<title>diego-cell</title>" in body) == (200, True)


async def test_a_task_without_its_program_says_which(cell: LocalCell) -> None:
    task = _task("t-program", "")
    task["action"] = {"run": {"path": "/no/such/program", "user": "vcap"}}
    done = await _completed(cell, task)
    assert done["failed"]
    assert "/no/such/program" in done["failure_reason"]


async def test_an_image_that_does_not_exist_is_named(cell: LocalCell) -> None:
    done = await _completed(cell, _task("t-image", "true", rootfs="docker://localhost:9/none/such#1"))
    assert done["failed"]
    assert done["failure_reason"].startswith("failed to create container: ")
    assert "none/such:1 from registry localhost:9" in done["failure_reason"]


async def test_a_root_filesystem_no_cell_has_is_not_placed(cell: LocalCell) -> None:
    lrp = _lrp("no-stack", rootfs="preloaded:unheard-of")
    await cell.receptor.expect(201, "POST", "/v1/desired_lrps", lrp)
    rows = await cell.receptor.until(
        "/v1/actual_lrps/no-stack", lambda rows: rows[0].get("placement_error"), what="a placement error"
    )
    assert rows[0]["placement_error"].startswith("found no compatible cell for required rootfs (cell-")
    await cell.receptor.expect(204, "DELETE", "/v1/desired_lrps/no-stack")


def _lrp(guid: str, **more: Any) -> dict[str, Any]:
    return {
        "process_guid": guid,
        "domain": "test",
        "rootfs": "preloaded:busybox",
        "instances": 1,
        "action": {"run": {"path": "/bin/sleep", "args": ["1000"], "user": "vcap"}},
        "memory_mb": 32,
        "disk_mb": 32,
        "log_guid": guid,
        **more,
    }


@pytest.mark.parametrize(
    ("body", "status", "name", "message"),
    [
        ('{"process_guid": "x",', 400, "InvalidJSON", ""),
        (json.dumps(_lrp("x") | {"instances": "two"}), 400, "InvalidJSON", "$.instances"),
        ('{"process_guid": "x"}', 400, "InvalidLRP", "$.domain"),
        (json.dumps(_lrp("x") | {"domain": ""}), 400, "InvalidLRP", "domain"),
        (json.dumps(_lrp("x") | {"action": {"dance": {}}}), 400, "InvalidJSON", "$.action"),
        (json.dumps(_lrp("x") | {"action": {"run": {"path": "", "user": "u"}}}), 400, "InvalidLRP", "path"),
    ],
)
async def test_bad_documents_are_refused_by_name(
    cell: LocalCell, body: str, status: int, name: str, message: str
) -> None:
    url = cell.endpoints["receptor"] + "/v1/desired_lrps"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as response:
        error = await response.json(content_type=None)
    assert (response.status, error["name"]) == (status, name)
    assert message in error["message"]
    assert (await cell.receptor.call("GET", "/v1/desired_lrps/x")).status == 404


async def test_a_guid_that_is_taken_is_a_conflict(cell: LocalCell) -> None:
    await cell.receptor.expect(201, "POST", "/v1/desired_lrps", _lrp("twice"))
    answer = await cell.receptor.call("POST", "/v1/desired_lrps", _lrp("twice"))
    assert (answer.status, answer.body["name"]) == (409, "DesiredLRPAlreadyExists")
    await cell.receptor.expect(204, "DELETE", "/v1/desired_lrps/twice")


async def test_a_restart_of_everything_brings_the_desired_work_back(tmp_path: Path) -> None:
    async with local_cell(tmp_path) as first:
        await first.receptor.expect(201, "POST", "/v1/desired_lrps", _lrp("survivor", domain="kept"))
        await first.receptor.running("survivor")
    async with local_cell(tmp_path) as second:
        assert await second.receptor.running("survivor", timeout_s=60)
