"""Well-behaved apps beside one hostile app, client or Task of each kind, in a real `cell dev`.

They must answer all the time, must not restart, and the agent must keep its memory and descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import statistics
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest
from docker import APIClient

from cell.development.local import LocalCell, local_cell, processes
from tests.support.inside import Inside
from tests.support.thorough import THOROUGH
from tests.support.waiting import until_so

pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.timeout(400)]

NEIGHBOURS = 10 if THOROUGH else 4
DURATION_S = 60.0 if THOROUGH else 6.0
"""For which all kinds of hostile work are there."""
LOOKS = 15 if THOROUGH else 6
"""At least; a busy machine takes longer for a look."""
FLOODS = 4 if THOROUGH else 2
PROCESSES = {
    "many-actions": ("sleep", 50 if THOROUGH else 20),
    "noisy-monitor": ("cat", 20 if THOROUGH else 10),
}
"""App -> the program and how many of it run once the app has started."""
START_TIMEOUT_S = 90.0
RSS_BOUND = 200 * 1024 * 1024
SILENT_CONNECTIONS = 400
"""Per listener."""
FD_GROWTH = 64
"""Descriptors that crash loops and Tasks may hold more at one look than at another; a leak is a slope."""

DEEP = (
    "cd /tmp; i=0; while [ $i -lt 3000 ]; do mkdir d 2>/dev/null; cd d || break; i=$((i+1)); done; sleep 1000"
)
STATUS = (
    "for f in $(find /.cell/io -name status); do (head -c 6000 /dev/zero | tr '\\0' 9 > $f &) ; done;"
    " sleep 2; exit 1"
)
FLOOD = "yes a"
LINES = "yes ''"
NAMES = "printf '\\377\\376\\377' > /proc/$$/comm; while :; do sleep 1; done"
REDIRECT = (
    "printf 'HTTP/1.1 302 Found\\r\\nLocation: http://{host}:{port}/secret\\r\\n\\r\\n' > /tmp/r;"
    " exec nc -ll -p 8080 -e cat /tmp/r"
)
CONNECTIONS = """
import socket, time
routes = [line.split() for line in open("/proc/net/route")]
(gateway,) = (route[2] for route in routes if route[1] == "00000000")
host = socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
kept = []
for _ in range(6000):
    s = socket.socket(); s.setblocking(False); kept.append(s)
    try: s.connect((host, PORT))
    except OSError: pass
    if len(kept) > 900: kept.pop(0).close()
    time.sleep(0.002)
time.sleep(1000)
"""
"""To a listener of the host that accepts nothing, so that no packet leaves the machine."""
INODES = """
import itertools, os
os.makedirs("/tmp/i")
for n in itertools.count():
    if n % 1000 == 0: os.makedirs(f"/tmp/i/{n}")
    open(f"/tmp/i/{n // 1000 * 1000}/{n}", "w").close()
"""
BROADCAST = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
while True:
    for to in ("255.255.255.255", "224.0.0.1"):
        try: s.sendto(b"hello", (to, 9999))
        except OSError: pass
    time.sleep(0.01)
"""


def _run(script: str, **more: Any) -> dict[str, Any]:
    return {"run": {"path": "/bin/sh", "args": ["-c", script], "user": "vcap", **more}}


def _python(script: str) -> dict[str, Any]:
    return {"run": {"path": "/usr/bin/python3", "args": ["-c", script], "user": "vcap"}}


def _lrp(guid: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "process_guid": guid,
        "domain": "hostile",
        "rootfs": "preloaded:busybox",
        "instances": 1,
        "action": action,
        "memory_mb": 64,
        "disk_mb": 64,
        "log_guid": guid,
        "egress_rules": [{"protocol": "all", "destinations": ["0.0.0.0/0"], "log": False}],
        **more,
    }


def _task(guid: str, action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "task_guid": guid,
        "domain": "hostile",
        "rootfs": "preloaded:busybox",
        "action": action,
        "memory_mb": 64,
        "disk_mb": 64,
        "log_guid": guid,
        **more,
    }


def _check(port: int, path: str = "") -> dict[str, Any]:
    checked = {"http_check": {"port": port, "path": path}} if path else {"tcp_check": {"port": port}}
    return {"ports": [port], "check_definition": {"checks": [checked]}}


def _neighbour(index: int) -> dict[str, Any]:
    serve = _run("exec httpd -f -p 8080 -h /etc")
    return _lrp(f"neighbour-{index}", serve, memory_mb=32, **_check(8080, "/passwd"))


def _hostile_lrps(host: str, outside_port: int, deaf_port: int) -> list[dict[str, Any]]:
    noisy_probe = {
        "parallel": {"actions": [_run("exec cat /dev/zero") for _ in range(PROCESSES["noisy-monitor"][1])]}
    }
    many = {"parallel": {"actions": [_run("exec sleep 1000") for _ in range(PROCESSES["many-actions"][1])]}}
    python = {"rootfs": "preloaded:cellfs"}
    return [
        _lrp("deep-folders", _run(DEEP)),
        _lrp("status-digits", _run(STATUS)),
        *(_lrp(f"flood-{n}", _run(FLOOD)) for n in range(FLOODS)),
        _lrp("one-byte-lines", _run(LINES)),
        _lrp("process-names", _run(NAMES)),
        _lrp("noisy-monitor", _run("exec sleep 1000"), monitor=noisy_probe),
        _lrp("redirecting-check", _run(REDIRECT.format(host=host, port=outside_port)), **_check(8080, "/")),
        _lrp("connections", _python(CONNECTIONS.replace("PORT", str(deaf_port))), **python),
        _lrp("inodes", _python(INODES), **python),
        _lrp("broadcast", _python(BROADCAST), **python),
        _lrp("crash-loop", _run("exit 1")),
        _lrp("many-actions", many),
        _lrp("out-of-memory", _run("exec tail /dev/zero")),
    ]


def _hostile_tasks(file_server: str) -> list[dict[str, Any]]:
    def download(name: str) -> dict[str, Any]:
        return {"download": {"from": f"{file_server}/v1/static/{name}", "to": "/tmp/d", "user": "vcap"}}

    sparse = {"upload": {"from": "/tmp/sparse", "to": f"{file_server}/v1/static/none", "user": "vcap"}}
    make = _run("truncate -s 6G /tmp/sparse")
    return [
        _task("damaged-archive", download("damaged.tgz")),
        _task("sparse-upload", {"serial": {"actions": [make, sparse]}}),
        _task("endless-result", _run("ln -s /dev/zero /tmp/r"), result_file="/tmp/r"),
        _task("long-argument", _run("true #" + "x" * 200_000)),
    ]


@contextmanager
def _silent_clients(urls: list[str]) -> Iterator[None]:
    """Connections to every listener that never say a word; a listener may refuse or cut them."""
    with ExitStack() as stack:
        for url, _ in itertools.product(urls, range(SILENT_CONNECTIONS)):
            host, port = urlsplit(url).hostname, urlsplit(url).port
            client = stack.enter_context(socket.socket())
            client.settimeout(2)
            with contextlib.suppress(OSError):
                client.connect((host, port))
        yield


@asynccontextmanager
async def _readers_that_never_read(receptor: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(10):
            session = await stack.enter_async_context(aiohttp.ClientSession(read_bufsize=1))
            with contextlib.suppress(aiohttp.ClientError):
                await stack.enter_async_context(session.get(f"{receptor}/v1/events"))
        yield


async def _junk(urls: list[str]) -> None:
    """Requests of another site and bodies that are no document, again and again."""
    headers = {"Origin": "http://evil.example", "X-Vcap-Request-Id": "\udcff", "Content-Type": "text/plain"}
    bodies = [b"\xff" * 100, b'{"task_guid":' + b"[" * 200, b"\x0a" * 5000]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for url, body in itertools.cycle(itertools.product(urls, bodies)):
            for path in ("/v1/tasks", "/v1/desired_lrp/desire.r3", "/v1/events", "/work"):
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                    async with session.post(url + path, data=body, headers=headers) as response:
                        assert response.status < 500
            await asyncio.sleep(0.05)


class _Watch:
    """What the neighbours answered, and what the agent's process held, once a second."""

    def __init__(self, cell: LocalCell) -> None:
        self._process = psutil.Process(cell.pid)
        self.failures: list[str] = []
        self.answers = 0
        self.rss: list[int] = []
        self.fds: list[Counter[str]] = []
        self.started = 0
        """Looks during the start of the hostile work."""

    async def look_while(self, holds: Callable[[], bool], addresses: list[str]) -> None:
        """A look a second."""
        loop = asyncio.get_running_loop()
        while holds():
            next_look = loop.time() + 1
            await self._look(addresses)
            await asyncio.sleep(max(0.0, next_look - loop.time()))

    async def _look(self, addresses: list[str]) -> None:
        self.rss.append(self._process.memory_info().rss)
        self.fds.append(_descriptors(self._process.pid))
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._ask(session, address) for address in addresses))

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> None:
        try:
            async with session.get(f"http://{address}/passwd") as response:
                assert "vcap" in await response.text()
                self.answers += 1
        except (aiohttp.ClientError, TimeoutError, AssertionError) as error:
            self.failures.append(f"{address}: {type(error).__name__} {error}")


def _host_address() -> str:
    """An address of this machine that a container could reach."""
    return next(
        (
            address.address
            for name, addresses in psutil.net_if_addrs().items()
            for address in addresses
            if address.family is socket.AF_INET and name != "lo"
        ),
        "127.0.0.1",
    )


def _descriptors(pid: int) -> Counter[str]:
    """How many descriptors a process has open, by what they are."""
    counts: Counter[str] = Counter()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            counts[re.sub(r"[0-9a-f-]{8,}|\d+", "N", str(path.readlink()))] += 1
    return counts


def _damaged_archive(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    plain = target.with_suffix(".tar")
    with tarfile.open(plain, "w") as archive:
        for name in ("a", "b", "c"):
            archive.addfile(tarfile.TarInfo(name))
    content = bytearray(plain.read_bytes())
    content[512 + 10] ^= 1
    target.write_bytes(content)


async def _rows(cell: LocalCell) -> dict[str, dict[str, Any]]:
    rows = (await cell.receptor.call("GET", "/v1/actual_lrps")).body
    return {row["process_guid"]: row for row in rows if row["process_guid"].startswith("neighbour-")}


async def test_apps_answer_while_each_kind_of_hostile_work_runs(
    tmp_path: Path, docker_client: APIClient
) -> None:
    _damaged_archive(tmp_path / "static" / "damaged.tgz")
    async with local_cell(tmp_path) as cell:
        for index in range(NEIGHBOURS):
            await cell.receptor.expect(201, "POST", "/v1/desired_lrps", _neighbour(index))
        for index in range(NEIGHBOURS):
            await cell.receptor.running(f"neighbour-{index}", timeout_s=START_TIMEOUT_S)
        before = await _rows(cell)
        addresses = [f"{row['address']}:{row['ports'][0]['host_port']}" for row in before.values()]
        with socket.create_server(("", 0)) as outside, socket.create_server(("", 0), backlog=1) as deaf:
            hostile = _hostile_lrps(_host_address(), outside.getsockname()[1], deaf.getsockname()[1])
            for document in hostile:
                await cell.receptor.expect(201, "POST", "/v1/desired_lrps", document)
            for document in _hostile_tasks(cell.endpoints["file_server"]):
                await cell.receptor.expect(201, "POST", "/v1/tasks", document)
            watch = await _watched(cell, addresses, {document["process_guid"] for document in hostile})
            outside.setblocking(False)
            with pytest.raises(BlockingIOError):  # the redirecting app's check came here from the host
                outside.accept()
        after = await _rows(cell)
        for document in hostile:
            await cell.receptor.expect(204, "DELETE", f"/v1/desired_lrps/{document['process_guid']}")
        inside = Inside(docker_client, cell.cells[0]["cell_id"])
        instances = {row["instance_guid"] for row in after.values()}

        async def removed() -> bool:
            """A container with very many files takes longer to remove than the end of a cell waits."""
            return (await asyncio.to_thread(inside.ids)).keys() == instances

        await until_so(removed, pause_s=0.2)
    assert watch.failures == []
    assert watch.answers >= NEIGHBOURS * LOOKS
    same = {guid: (row["instance_guid"], row["crash_count"], row["state"]) for guid, row in after.items()}
    assert same == {guid: (row["instance_guid"], 0, "RUNNING") for guid, row in before.items()}
    assert max(watch.rss) < RSS_BOUND
    fds = watch.fds[watch.started :]
    third = len(fds) // 3
    middle, end = (
        statistics.median(looked.total() for looked in part) for part in (fds[third:-third], fds[-third:])
    )
    assert end < middle + FD_GROWTH, [looked.total() for looked in fds]
    log = (tmp_path / "cell.log").read_text(errors="replace")
    assert "Traceback" not in log, _traces(log)


async def _begun(cell: LocalCell, guids: set[str]) -> None:
    """Each of these apps has been on a cell, and those of many processes have them.

    Some never get further than to a cell.
    """

    def holds(rows: list[dict[str, Any]]) -> bool:
        return guids <= {
            row["process_guid"]
            for row in rows
            if row["state"] in ("CLAIMED", "RUNNING") or row["crash_count"]
        }

    await cell.receptor.until(
        "/v1/actual_lrps", holds, what="the hostile apps", timeout_s=START_TIMEOUT_S, every_s=0.5
    )
    async with asyncio.timeout(START_TIMEOUT_S):
        for guid, (program, count) in PROCESSES.items():
            while await _number_of(cell, guid, program) < count:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.5)


async def _number_of(cell: LocalCell, guid: str, program: str) -> int:
    """How many processes of the only instance of an app run a program."""
    (row,) = (await cell.receptor.call("GET", f"/v1/actual_lrps/{guid}")).body

    def count() -> int:
        names = []
        for process in processes(row["instance_guid"]):
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(process.name())
        return names.count(program)

    try:
        return await asyncio.to_thread(count)
    except ValueError:  # its container is not there yet
        return 0


async def _watched(cell: LocalCell, addresses: list[str], hostile: set[str]) -> _Watch:
    """Hostile clients beside the hostile apps, with one look a second."""
    plain = [url for name, url in cell.endpoints.items() if str(url).startswith("http")]
    plain += [one[side] for one in cell.cells for side in ("admin", "network")]
    watch = _Watch(cell)
    loop = asyncio.get_running_loop()
    async with _readers_that_never_read(cell.endpoints["receptor"]), asyncio.TaskGroup() as group:
        with await asyncio.to_thread(_entered, _silent_clients(plain)) as stack:
            assert stack is not None
            junk = group.create_task(_junk(plain))
            begun = group.create_task(_begun(cell, hostile))
            await watch.look_while(lambda: not begun.done(), addresses)
            watch.started = len(watch.fds)
            end = loop.time() + DURATION_S
            looks = watch.started + LOOKS
            await watch.look_while(lambda: loop.time() < end or len(watch.fds) < looks, addresses)
            junk.cancel()
    return watch


def _entered(manager: contextlib.AbstractContextManager[None]) -> ExitStack:
    """The manager entered, to be left by leaving the stack."""
    stack = ExitStack()
    stack.enter_context(manager)
    return stack


def _traces(log: str) -> str:
    return "\n".join(line[:3000] for line in log.splitlines() if "Traceback" in line)[:9000]
