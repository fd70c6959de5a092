"""`cell run` end to end: a separate process on a real engine."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio
from aiohttp import web
from docker import APIClient

from cell.development import BUSYBOX_IMAGE
from cell.development.local import pack
from cell.development.slots import LOCK_DIR, SLOTS, Slot
from cell.examples import EXAMPLES
from executor.engine.createrequest import LABEL_CELL, LABEL_GUID
from tests.support.programs import start_cell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]

SIDE_BY_SIDE = 3
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Program:
    """Runs ``cell`` with a state folder of its own, a few at a time."""

    def __init__(self, state_dir: Path, files: str) -> None:
        self.state_dir = state_dir
        self.files = files
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def cell(self, *words: str, stdin: str = "", **environment: str) -> Ended:
        """Run a command to its end."""
        async with self._places:
            process = await start_cell(*words, **environment)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    out, err = await process.communicate(stdin.encode())
            except TimeoutError:
                process.terminate()
                await process.wait()
                raise
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def run(self, tree: object, *options: str) -> Ended:
        """``cell run - --image busybox`` of a document."""
        words = ["run", "-", "--state-dir", str(self.state_dir), *options]
        if "--image" not in options and "--rootfs" not in options:
            words += ["--image", "busybox"]
        return await self.cell(*words, stdin=tree if isinstance(tree, str) else json.dumps(tree))

    async def example(self, name: str, *options: str) -> Ended:
        """An example tree, with the file server's address replaced by the test's."""
        text = (EXAMPLES / "trees" / f"{name}.json").read_text()
        return await self.run(text.replace("http://127.0.0.1:8080", self.files), *options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uploads() -> dict[str, bytes]:
    """What was uploaded, by path."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def program(
    docker_client: APIClient, tmp_path_factory: pytest.TempPathFactory, uploads: dict[str, bytes]
) -> AsyncIterator[Program]:
    static = tmp_path_factory.mktemp("static")
    pack(EXAMPLES / "lifecycle", static / "lifecycle.tgz")

    async def take(request: web.Request) -> web.Response:
        uploads[request.path] = await request.read()
        return web.Response(status=201)

    app = web.Application()
    app.router.add_static("/v1/static", static)
    app.router.add_post("/v1/upload/{name}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield Program(tmp_path_factory.mktemp("state"), f"http://127.0.0.1:{port}")
    await runner.cleanup()


def _run(script: str, **more: object) -> dict[str, Any]:
    return {"run": {"path": "/bin/sh", "args": ["-c", script], "user": "vcap", **more}}


OUTCOMES: dict[str, tuple[int, list[str], str]] = {
    "run": (0, ["[APP] OUT hello from vcap with a smile", "[APP] OUT Exit status 0"], ""),
    "run_fails": (1, ["[APP] ERR something is wrong"], "APP: Exited with status 3 (step action/run, "),
    "download": (0, ["[APP] OUT Downloading tools...", "[APP] OUT launcher"], ""),
    "download_fails": (1, ["[APP] ERR Downloading tools failed"], "(step action/download, "),
    "upload": (0, ["[APP] OUT Uploading answer...", "[APP] OUT Uploaded answer (3B)"], ""),
    "upload_fails": (1, [], "(step action/upload, "),
    "timeout": (0, ["[APP] OUT quick"], ""),
    "timeout_fails": (1, ["[APP] OUT slow"], "exceeded 1s timeout (step action/timeout, "),
    "emit_progress": (0, ["[APP] OUT Staging...", "[APP] OUT Staging complete"], ""),
    "emit_progress_fails": (
        1,
        ["[APP] OUT Staging..."],
        "Exited with status 7 (step action/emit-progress/run, ",
    ),
    "try": (0, ["[APP] OUT tried", "[APP] OUT going on"], ""),
    "try_fails": (0, ["[APP] OUT Exit status 1", "[APP] OUT going on all the same"], ""),
    "parallel": (0, ["[LEFT] OUT left", "[RIGHT] OUT right"], ""),
    "parallel_fails": (1, ["[RIGHT] OUT right"], "FAR: Exited with status 2"),
    "serial": (0, ["[APP] OUT one", "[APP] OUT two"], ""),
    "serial_fails": (1, ["[APP] OUT one"], "APP: Exited with status 5 (step action/serial[1]/run, "),
    "codependent": (0, ["[WORKER] OUT worker", "[LEADER] OUT done"], ""),
    "codependent_fails": (1, ["[LEADER] OUT done"], "Codependent step exited (step action/codependent, "),
}


async def test_each_action_succeeds_and_fails_as_its_example_says(
    program: Program, uploads: dict[str, bytes]
) -> None:
    ended = dict(zip(OUTCOMES, await asyncio.gather(*map(program.example, OUTCOMES)), strict=True))
    for name, (code, lines, reason) in OUTCOMES.items():
        said = ended[name]
        assert said.code == code, (name, said)
        printed = said.out.splitlines()
        assert all(line in printed for line in lines), (name, said)
        assert reason in said.err, (name, said)
        assert said.err.count("\n") == (1 if code else 0), (name, said)
    assert "never" not in ended["serial_fails"].out
    assert uploads == {"/v1/upload/answer": b"42\n"}


def _containers(client: APIClient, guid: str) -> list[Any]:
    found: list[Any] = client.containers(all=True, filters={"label": f"{LABEL_GUID}={guid}"})
    return found


def _nothing_left(client: APIClient, guid: str, state_dir: Path) -> None:
    """No container of the run; no link and no packet table of an unused slot."""
    assert _containers(client, guid) == []
    used = [Slot(number) for number in range(SLOTS) if (state_dir / Slot(number).cell_id).exists()]
    assert used
    for slot in used:
        with (LOCK_DIR / f"slot-{slot.number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another cell uses the slot by now
            tables = subprocess.run(
                ["nft", "list", "tables"], check=True, capture_output=True, text=True
            ).stdout
            assert slot.nft_table not in tables.split()
            assert slot.network_name not in psutil.net_if_addrs()


async def test_events_tell_the_whole_story_and_nothing_is_left(
    program: Program, docker_client: APIClient
) -> None:
    said = await program.example("parallel", "--json")
    events = said.events
    assert (said.code, said.err) == (0, "")
    (guid,) = {event["guid"] for event in events}
    states = [event["state"] for event in events if event["event"] == "container_changed"]
    assert states == ["reserved", "initializing", "created", "running", "completed"]
    planned = {"action/parallel", "action/parallel[0]/run", "action/parallel[1]/run"}
    assert {event["path"] for event in events if event["event"] == "step_ended"} == planned
    calls = [event["call"] for event in events if event["event"] == "engine_called"]
    assert calls[0] == f"create container from {BUSYBOX_IMAGE}"
    assert calls[-1] == "destroy container"
    assert events[-1]["event"] == "run_ended"
    _nothing_left(docker_client, guid, program.state_dir)


async def test_reports_are_written_and_explained(program: Program, tmp_path: Path) -> None:
    trace, report = tmp_path / "run.trace", tmp_path / "report.xml"
    said = await program.example("serial_fails", "--trace", str(trace), "--junit", str(report))
    assert said.code == 1
    assert json.loads(trace.read_text())["traceEvents"]
    assert 'failures="1"' in report.read_text()
    explained = await program.cell("explain", str(trace))
    assert explained.code == 0
    assert explained.out.startswith("✗ action/serial[1]/run failed after ")
    assert "\x1b" not in explained.out


async def test_what_cannot_be_run_is_told_in_one_line(program: Program, tmp_path: Path) -> None:
    with_listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = with_listener.sockets[0].getsockname()[1]
    true = _run("true")
    tree = tmp_path / "true.json"
    tree.write_text(json.dumps(true))
    words = ["run", str(tree), "--image", "busybox", "--state-dir", str(program.state_dir)]
    runs: list[tuple[int, str, Any]] = [
        (2, "not JSON", program.run('{"run":')),
        (2, "$.run.path: expected a value", program.run({"run": {"user": "vcap"}})),
        (2, 'unknown action "dance"', program.run({"dance": {}})),
        (2, "--only action/try: no such step", program.run(true, "--only", "action/try")),
        (2, "none/such:1 from registry 127.0.0.1:9", program.run(true, "--image", "127.0.0.1:9/none/such:1")),
        (2, "not a tar", program.run(true, "--rootfs", "/no/such/not a tar")),
        (2, "No such file", program.cell("run", str(tmp_path / "none.json"), "--image", "busybox")),
        (2, "/no/such/file: No such file", program.run(true, "--trace", "/no/such/file")),
        (3, f"host port {port} cannot be used", program.run(true, "--port", f"{port}:80")),
        (3, "insufficient resources available", program.run(true, "--memory-mb", "99999999")),
        (3, "/no/engine.sock", program.cell(*words, DOCKER_HOST="unix:///no/engine.sock")),
        (1, "/no/such/program", program.run({"run": {"path": "/no/such/program", "user": "vcap"}})),
        (1, "no such user", program.run({"run": {"path": "/bin/true", "user": "nobody-here"}})),
        (1, "did not end within 500ms", program.run(_run("exec sleep 60"), "--timeout", "0.5")),
    ]
    for (code, text, _), said in zip(runs, await asyncio.gather(*(run for _, _, run in runs)), strict=True):
        reasons = [line for line in said.err.splitlines() if not line.startswith("cell run: pulling image")]
        assert said.code == code, said
        assert len(reasons) == 1, said
        assert reasons[0].startswith("cell run: "), said
        if text != "no such user":
            assert text in reasons[0], said
    with_listener.close()
    await with_listener.wait_closed()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_gracefully(
    program: Program, docker_client: APIClient, tmp_path: Path, signum: signal.Signals
) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(
        json.dumps(_run("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"))
    )
    words = ["run", str(tree), "--image", "busybox", "--json", "--state-dir", str(program.state_dir)]
    process = await start_cell(*words)
    async with asyncio.timeout(TIMEOUT_S):
        async for line in process.stdout:
            event = json.loads(line)
            if event.get("text") == "ready":
                process.send_signal(signum)
                break
        rest = [json.loads(line) for line in (await process.stdout.read()).splitlines()]
        error = (await process.stderr.read()).decode()
        assert await process.wait() == 130
    assert "bye" in [event.get("text") for event in rest]
    assert error == f"cell run: interrupted (container {event['guid']})\n"
    _nothing_left(docker_client, event["guid"], program.state_dir)


async def test_a_second_signal_does_not_wait_for_a_stubborn_app(
    program: Program, docker_client: APIClient, tmp_path: Path
) -> None:
    tree = tmp_path / "tree.json"
    script = "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done"
    tree.write_text(json.dumps(_run(script)))
    words = ["run", str(tree), "--image", "busybox", "--json", "--state-dir", str(program.state_dir)]
    process = await start_cell(*words)
    texts = []
    async with asyncio.timeout(TIMEOUT_S):
        async for line in process.stdout:
            event = json.loads(line)
            texts += [event["text"]] if "text" in event else []
            if event.get("text") in ("ready", "no"):  # asked first, and then insisted
                process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert texts[-1] == "Exit status 137"  # without "exceeded 10s graceful shutdown interval"
    _nothing_left(docker_client, event["guid"], program.state_dir)


async def test_documents_bring_what_they_need(program: Program) -> None:
    task = json.loads((EXAMPLES / "task.json").read_text())
    lrp = {
        "process_guid": "web",
        "domain": "d",
        "rootfs": "preloaded:busybox",
        "setup": _run("echo here > /tmp/index.html"),
        "action": _run(
            "echo $MODE at $CF_INSTANCE_PORTS; httpd -p 8080 -h /tmp; "
            "while [ ! -e /tmp/over ]; do sleep 0.05; done; sleep 1; exit 7",
            log_source="WEB",
        ),
        "monitor": _run("wget -qO- http://127.0.0.1:8080/ > /tmp/page && touch /tmp/over"),
        "ports": [8080],
        "env": [{"name": "MODE", "value": "document"}],
        "log_source": "CELL",
    }
    done, served = await asyncio.gather(
        program.run(task), program.run(lrp, "--env", "MODE=option", "--json", "--memory-mb", "64")
    )
    assert (done.code, "[RESULT] 1+..+100 = 5050" in done.out.splitlines()) == (0, True), done
    assert served.code == 1, served
    assert "WEB: Exited with status 7 (step action/run, " in served.err
    texts = [event["text"] for event in served.events if event["event"] == "log_written"]
    assert any(text.startswith("option at ") and '"internal":8080' in text for text in texts), texts
    states = [event["state"] for event in served.events if event["event"] == "container_changed"]
    assert "running" in states
    assert {event["path"] for event in served.events if event["event"] == "step_started"} == {
        "setup/run",
        "action/run",
        "monitor",
    }


async def test_one_step_alone_as_somebody_else(program: Program) -> None:
    tree = {"serial": {"actions": [_run("echo first"), _run("echo $(id -un) second")]}}
    said = await program.run(tree, "--only", "action/serial[1]/run", "--user", "root")
    assert said.code == 0
    assert "[APP] OUT root second" in said.out
    assert "first" not in said.out


async def test_a_kept_container_can_be_entered(program: Program, docker_client: APIClient) -> None:
    said = await program.run(_run("echo kept > /tmp/file; exit 1"), "--keep", "--json")
    assert said.code == 1
    guid = said.events[-1]["guid"]
    assert said.events[-1]["kept"] is True
    (container,) = _containers(docker_client, guid)
    try:
        assert f"docker exec -it -u vcap {container['Id'][:12]} /bin/sh" in said.err
        entered = docker_client.exec_create(container["Id"], ["cat", "/tmp/file"], user="vcap")
        assert docker_client.exec_start(entered["Id"]) == b"kept\n"
        other = await program.run(_run("true"))
        assert (other.code, other.err) == (0, "")
        assert _containers(docker_client, guid), "another run removed it"
    finally:
        docker_client.remove_container(container["Id"], force=True, v=True)


async def test_a_port_of_the_host_that_was_asked_for(
    program: Program, tmp_path: Path, unused_tcp_port: int
) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(
        json.dumps(_run("mkdir /tmp/www; echo hi > /tmp/www/x; exec httpd -f -p 8080 -h /tmp/www"))
    )
    words = ["run", str(tree), "--image", "busybox", "--state-dir", str(program.state_dir)]
    process = await start_cell(*words, "--port", f"{unused_tcp_port}:8080")
    async with asyncio.timeout(TIMEOUT_S), aiohttp.ClientSession() as session:
        line = (await process.stderr.readline()).decode()
        assert line == f"cell run: port 8080 is at 127.0.0.1:{unused_tcp_port}\n"
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{unused_tcp_port}/x") as answer:
                    assert await answer.text() == "hi\n"
                    break
            except aiohttp.ClientConnectionError:  # it has just been started
                await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 130


async def test_what_a_killed_run_left_goes_with_the_next(
    program: Program, docker_client: APIClient, tmp_path: Path
) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps(_run("echo ready; exec sleep 60")))
    words = ["run", str(tree), "--image", "busybox", "--json", "--state-dir", str(program.state_dir)]
    process = await start_cell(*words)
    async with asyncio.timeout(TIMEOUT_S):
        async for line in process.stdout:
            event = json.loads(line)
            if event.get("text") == "ready":
                break
        process.kill()
        await process.wait()
    (left,) = _containers(docker_client, event["guid"])
    cell_id = left["Labels"][LABEL_CELL]
    (slot,) = [Slot(number) for number in range(SLOTS) if Slot(number).cell_id == cell_id]
    while _containers(docker_client, event["guid"]):
        # Others may hold lower slots by now: runs side by side take them all, and this one's too.
        runs = [program.run(_run("sleep 1")) for _ in range(slot.number + 1)]
        assert {said.code for said in await asyncio.gather(*runs)} == {0}


async def test_a_reader_that_leaves_early_does_no_harm(program: Program, tmp_path: Path) -> None:
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps(_run("seq 1 2000")))
    words = ["run", str(tree), "--image", "busybox", "--state-dir", str(program.state_dir)]
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cell", *words, stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        assert await asyncio.to_thread(os.read, reading, 5) == b"[APP]"
        os.close(reading)
        assert await process.stderr.read() == b""
        assert await process.wait() == 0
