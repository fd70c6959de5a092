"""Start `cell dev`, run an LRP and Tasks with it, crash an instance, and clean up.

Every step prints one line with its result and duration. Exit status 0 means that all steps succeeded
and that no container, network or packet rule of the demo is left.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
import docker
import psutil

from cell.cli import FOLDER, Command, command, require_root
from cell.development.local import LocalCell, LocalCellError, Receptor, local_cell, pack, processes
from cell.examples import EXAMPLES
from executor.engine.createrequest import LABEL_CELL
from executor.network.address import detect_external_ip
from executor.network.config import NetworkConfig


@command(Command, errors={LocalCellError: 1})
@click.option(
    "--examples", type=FOLDER, default=EXAMPLES, metavar="DIR", help="folder of the example documents"
)
@click.option("--state-dir", type=FOLDER, metavar="DIR", help="keep state here (default: a temporary folder)")
def demo(examples: Path, state_dir: Path | None) -> None:
    require_root("it makes containers and packet rules")
    with tempfile.TemporaryDirectory(prefix="diego-cell-demo-") as folder:
        asyncio.run(_demo(state_dir or Path(folder), examples))


@contextmanager
def _step(title: str) -> Iterator[list[str]]:
    """Time a step; the notes appended to the list are printed after the title."""
    began = time.monotonic()
    notes: list[str] = []
    yield notes
    print(f"{title:44} {time.monotonic() - began:6.2f} s  {'; '.join(notes)}", flush=True)


async def _demo(state_dir: Path, examples: Path) -> None:
    began = time.monotonic()
    pack(examples / "lifecycle", state_dir / "static" / "lifecycle.tgz")
    stack = local_cell(state_dir)
    with _step("cell dev is up") as notes:
        cell = await stack.__aenter__()
        notes.append(f"REST API at {cell.endpoints['receptor']}")
    try:
        await _run_lrp(cell, examples)
        await _run_task(cell.receptor, examples)
        await _go_outside(cell.receptor)
        await _crash_one(cell.receptor)
        await _delete(cell.receptor)
        await _push(cell, examples)
    except BaseException:
        await stack.__aexit__(*sys.exc_info())
        raise
    with _step("cell dev stopped"):
        await stack.__aexit__(None, None, None)
    with _step("nothing of ours is left"):
        _check_nothing_left(cell.cells[0])
    print(f"{'all of it':44} {time.monotonic() - began:6.2f} s")


def _document(path: Path, endpoints: dict[str, str]) -> Any:
    """An example document, with the file server's default address replaced by the real one."""
    return json.loads(path.read_text().replace("http://127.0.0.1:8080", endpoints["file_server"]))


async def _fetch(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return (await response.text()).strip()


def _address(row: dict[str, Any]) -> str:
    return f"http://{row['address']}:{row['ports'][0]['host_port']}/"


async def _run_lrp(cell: LocalCell, examples: Path) -> None:
    receptor = cell.receptor
    with _step("desired LRP `web`, RUNNING") as notes:
        await receptor.expect(
            201, "POST", "/v1/desired_lrps", _document(examples / "web.json", cell.endpoints)
        )
        row = (await receptor.running("web"))[0]
        notes.append(f"instance {row['instance_guid']} on {row['cell_id']}")
    with _step("fetched it over its mapped port") as notes:
        notes.append(f"{_address(row)} says {await _fetch(_address(row))!r}")
    with _step("scaled to 2 instances") as notes:
        await receptor.expect(204, "PUT", "/v1/desired_lrps/web", {"instances": 2})
        rows = await receptor.running("web", 2)
        notes += [f"{_address(row)} says {await _fetch(_address(row))!r}" for row in rows]


async def _run_task(receptor: Receptor, examples: Path) -> None:
    with _step("ran Task `sum`") as notes:
        await receptor.expect(201, "POST", "/v1/tasks", json.loads((examples / "task.json").read_text()))
        task = await receptor.until(
            "/v1/tasks/sum", lambda t: t.get("state") == "COMPLETED", what="the task's end"
        )
        if task["failed"]:
            raise LocalCellError(f"the task failed: {task['failure_reason']}")
        notes.append(f"result {task['result'].strip()!r}")
        await receptor.expect(200, "DELETE", "/v1/tasks/sum")


async def _go_outside(receptor: Receptor) -> None:
    """Reach a listener on this host, as an example of a service behind an egress rule."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome\n")
        writer.close()

    address = detect_external_ip()
    async with await asyncio.start_server(greet, address, 0) as service:
        port = service.sockets[0].getsockname()[1]
        rule = {"protocol": "tcp", "destinations": [address], "ports": [port], "log": True}
        for name, rules in (("denied", []), ("allowed", [rule])):
            with _step(f"connection {name} by egress rules") as notes:
                answer = await _dial(receptor, name, f"{address} {port}", rules)
                notes.append(f"{address}:{port} {'with' if rules else 'without'} a rule: {answer!r}")
                if (answer == "welcome") is not bool(rules):
                    raise LocalCellError(f"an app that is {name} to connect received {answer!r}")


async def _dial(receptor: Receptor, guid: str, target: str, rules: list[dict[str, Any]]) -> str:
    """The data that a Task with these egress rules receives."""
    task = {
        "task_guid": guid,
        "domain": "demo",
        "rootfs": "preloaded:busybox",
        "action": {
            "run": {
                "path": "/bin/sh",
                "args": ["-c", f"nc -w 5 {target} >/tmp/answer 2>&1; true"],
                "user": "vcap",
            }
        },
        "memory_mb": 32,
        "disk_mb": 64,
        "log_guid": guid,
        "result_file": "/tmp/answer",
        "egress_rules": rules,
    }
    await receptor.expect(201, "POST", "/v1/tasks", task)
    done = await receptor.until(
        f"/v1/tasks/{guid}", lambda t: t.get("state") == "COMPLETED", what=f"the end of Task {guid}"
    )
    if done["failed"]:
        raise LocalCellError(f"Task {guid} failed: {done['failure_reason']}")
    await receptor.expect(200, "DELETE", f"/v1/tasks/{guid}")
    return str(done["result"]).strip()


def _app_process(instance_guid: str) -> psutil.Process:
    """The web server process of an instance, as a host process."""
    for process in processes(instance_guid):
        if process.cmdline()[:1] == ["httpd"]:
            return process
    raise LocalCellError(f"instance {instance_guid} has no httpd process")


async def _crash_one(receptor: Receptor) -> None:
    with _step("killed instance 1, RUNNING again") as notes:
        row = (await receptor.running("web", 2))[1]
        _app_process(row["instance_guid"]).send_signal(signal.SIGKILL)

        def is_restarted(now: Any) -> bool:
            return bool(now["state"] == "RUNNING" and now["instance_guid"] != row["instance_guid"])

        now = await receptor.until(
            "/v1/actual_lrps/web/index/1", is_restarted, what="the restart of instance 1"
        )
        notes.append(
            f"crash_count {now['crash_count']}, {_address(now)} says {await _fetch(_address(now))!r}"
        )


async def _delete(receptor: Receptor) -> None:
    with _step("deleted everything"):
        await receptor.expect(204, "DELETE", "/v1/desired_lrps/web")
        await receptor.until("/v1/actual_lrps", lambda rows: rows == [], what="the instances to end")


async def _push(cell: LocalCell, examples: Path) -> None:
    with _step("cell push: a Python app, staged and RUNNING") as notes:
        words = await _cell(cell, "push", str(examples / "apps" / "python"), "-n", "hello", "--json")
        row = json.loads(words.splitlines()[-1])
        notes.append(f"instance {row['instance_guid']}")
    with _step("fetched it over its mapped port") as notes:
        notes.append(f"{_address(row)} says {await _fetch(_address(row))!r}")
    with _step("cell ssh hello -c hostname") as notes:
        notes.append(repr((await _cell(cell, "ssh", "hello", "-c", "hostname")).strip()))
    with _step("cell scale hello 2") as notes:
        await _cell(cell, "scale", "hello", "2")
        rows = await cell.receptor.running(row["process_guid"], 2)
        notes += [await _fetch(_address(row)) for row in rows]
    with _step("cell delete hello"):
        await _cell(cell, "delete", "hello")
        await cell.receptor.until("/v1/actual_lrps", lambda rows: rows == [], what="the app to end")


async def _cell(cell: LocalCell, *words: str) -> str:
    """The output of a command. Raises LocalCellError with the command's message if it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cell", *words, "--state-dir", str(cell.state_dir)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, trouble = await process.communicate()
    if process.returncode != 0:
        raise LocalCellError(f"cell {' '.join(words)} ended with {process.returncode}:\n{trouble.decode()}")
    return printed.decode()


def _check_nothing_left(cell: dict[str, str]) -> None:
    client = docker.from_env()
    try:
        mine = client.containers.list(all=True, filters={"label": f"{LABEL_CELL}={cell['cell_id']}"})
        left = [f"container {found.name}" for found in mine]
    finally:
        client.close()
    links = NetworkConfig(name=cell["interface"], table=cell["nft_table"]).port_prefix
    interfaces = [name for _, name in socket.if_nameindex()]
    left += [
        f"interface {name}" for name in interfaces if name == cell["interface"] or name.startswith(links)
    ]
    firewall = subprocess.run(["iptables", "-S"], capture_output=True, text=True, check=True).stdout
    left += [f"firewall rule {line}" for line in firewall.splitlines() if links in line]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    left += [line for line in tables.splitlines() if cell["nft_table"] in line]
    if left:
        raise LocalCellError(f"left behind: {', '.join(left)}")
