"""The scripts of a cell's service: drain evacuates it, post-start waits until it is ready."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from bbs.client.identity import Identity, IdentityFiles
from rep.evacuation import EvacuationFlag
from rep.server import AdminRoutes, listening
from tests.support.http import answering
from tests.support.outcomes import idle_courier
from tests.support.paths import REPOSITORY
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

SCRIPTS = REPOSITORY / "packaging" / "drain"
Configure = Callable[..., Path]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Writes a rep.json."""

    def write(address: str, identity: IdentityFiles | None = None) -> Path:
        keys = {"listen_addr": address, "cell_id": "c"}
        if identity is not None:
            keys["ca_cert_file"] = str(identity.ca_file)
            keys["cert_file"] = str(identity.cert_file)
            keys["key_file"] = str(identity.key_file)
        path = tmp_path / "rep.json"
        path.write_text(json.dumps(keys))
        return path

    return write


@asynccontextmanager
async def script(
    name: str, config: Path, **environment: str
) -> AsyncIterator[Awaitable[tuple[int, str, str]]]:
    """Started when entered; the value waits for exit status, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / name,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "REP_CONFIG": str(config),
            "PING_INTERVAL": "0.05",
            **environment,
        },
    )

    async def end() -> tuple[int, str, str]:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    try:
        yield end()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("tls", [False, True])
async def test_drain_evacuates_and_waits_for_the_end(
    configure: Configure, tls_identity: IdentityFiles, tls: bool
) -> None:
    flag = EvacuationFlag()
    context = Identity(tls_identity).server_context() if tls else None
    async with AsyncExitStack() as stack:
        async with listening(
            AdminRoutes(flag, idle_courier()).application(), "127.0.0.1:0", context
        ) as address:
            config = configure(f"0.0.0.0:{address.port}", tls_identity if tls else None)
            ended = await stack.enter_async_context(script("drain", config))
            async with asyncio.timeout(PATIENCE_S):
                await flag.wait()
        status, out, _ = await ended
    assert (status, out) == (0, "0\n")


async def test_drain_ends_a_process_that_outlives_its_listener(configure: Configure, tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    pid_file = tmp_path / "rep.pid"
    pid_file.write_text(f"{process.pid}\n")
    flag = EvacuationFlag()
    async with AsyncExitStack() as stack:
        async with listening(AdminRoutes(flag, idle_courier()).application(), "127.0.0.1:0", None) as address:
            config = configure(f"127.0.0.1:{address.port}")
            drain = script("drain", config, REP_PID_FILE=str(pid_file), PATIENCE="1")
            ended = await stack.enter_async_context(drain)
            async with asyncio.timeout(PATIENCE_S):
                await flag.wait()
        status, _, err = await ended
    assert status == 0
    assert "SIGTERM" in err
    assert await process.wait() == 0


async def test_drain_fails_when_the_rep_refuses(configure: Configure) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500 if request.method == "POST" else 200)

    async with (
        listening(answering(answer), "127.0.0.1:0", None) as address,
        script("drain", configure(f"127.0.0.1:{address.port}")) as ended,
    ):
        status, out, err = await ended
    assert (status, out) == (1, "")
    assert "refuses to evacuate" in err


async def test_there_is_nothing_to_drain_without_a_rep(configure: Configure) -> None:
    async with script("drain", configure("127.0.0.1:1")) as ended:
        assert (await ended)[:2] == (0, "0\n")


async def test_a_rep_that_cannot_be_asked_is_not_taken_for_none(
    configure: Configure, tls_identity: IdentityFiles
) -> None:
    server = Identity(tls_identity).server_context()
    async with (
        listening(
            AdminRoutes(EvacuationFlag(), idle_courier()).application(), "127.0.0.1:0", server
        ) as address,
        script("drain", configure(f"127.0.0.1:{address.port}")) as ended,
    ):
        status, out, err = await ended
    assert (status, out) == (1, "")
    assert f"cannot ask http://127.0.0.1:{address.port}/ping" in err


async def test_an_answer_that_is_late_does_not_end_the_wait(configure: Configure) -> None:
    """A rep that ends hundreds of containers on a busy machine may be slow to say so."""
    pings = 0
    again, enough = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        nonlocal pings
        if request.method == "POST":
            return web.json_response({"ping_path": "/ping"}, status=202)
        pings += 1
        if pings == 1:
            await enough.wait()
        again.set()
        return web.Response()

    async with AsyncExitStack() as stack:
        async with listening(answering(answer), "127.0.0.1:0", None) as address:
            config = configure(f"127.0.0.1:{address.port}")
            pid_file = config.with_name("rep.pid")
            pid_file.write_text(f"{os.getpid()}\n")
            drain = script("drain", config, REP_PID_FILE=str(pid_file), ASK_TIMEOUT="1")
            ended = await stack.enter_async_context(drain)
            async with asyncio.timeout(PATIENCE_S):
                await again.wait()
            pid_file.unlink()
            enough.set()
        assert (await ended)[:2] == (0, "0\n")


async def test_a_rep_that_hangs_is_not_an_empty_cell(configure: Configure) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET" and evacuating:
            await enough.wait()
        evacuating.append(request.method == "POST")
        return web.Response(status=202)

    evacuating: list[bool] = []
    enough = asyncio.Event()
    async with listening(answering(answer), "127.0.0.1:0", None) as address:
        async with script("drain", configure(f"127.0.0.1:{address.port}"), ASK_TIMEOUT="1") as ended:
            status, out, err = await ended
        enough.set()
    assert (status, out) == (1, "")
    assert "does not answer any more" in err


@pytest.mark.parametrize("name", ["drain", "post-start"])
async def test_a_missing_program_is_named(configure: Configure, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "dirname"):
        (folder / program).symlink_to(shutil.which(program) or program)
    async with script(name, configure("127.0.0.1:1"), PATH=str(folder)) as ended:
        status, out, err = await ended
    assert (status, out) == (1, "")
    assert "curl and python3 are needed" in err


async def test_post_start_waits_until_the_cell_is_up(
    configure: Configure, tls_identity: IdentityFiles
) -> None:
    server = Identity(tls_identity).server_context()
    async with listening(
        AdminRoutes(EvacuationFlag(), idle_courier()).application(), "127.0.0.1:0", server
    ) as address:
        port = address.port
    async with script("post-start", configure(f"127.0.0.1:{port}", tls_identity)) as ended:
        waiting = asyncio.ensure_future(ended)
        assert not waiting.done()
        async with listening(
            AdminRoutes(EvacuationFlag(), idle_courier()).application(), f"127.0.0.1:{port}", server
        ):
            assert (await waiting)[0] == 0


async def test_post_start_gives_up_and_says_where_it_asked(configure: Configure) -> None:
    async with script("post-start", configure("127.0.0.1:1"), START_TIMEOUT="0") as ended:
        status, _, err = await ended
    assert status == 1
    assert "no answer from http://127.0.0.1:1/ping" in err


async def test_post_start_does_not_wait_for_a_process_that_has_ended(configure: Configure) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()
    async with script("post-start", configure("127.0.0.1:1"), REP_PID=str(process.pid)) as ended:
        status, _, err = await ended
    assert status == 1
    assert f"process {process.pid}, the rep, has ended" in err


@pytest.mark.parametrize(
    ("state", "evacuates"), [("running", False), ("degraded", False), ("stopping", True)]
)
async def test_a_stop_of_the_service_evacuates_only_with_the_machine(
    configure: Configure, tmp_path: Path, state: str, evacuates: bool
) -> None:
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = is-system-running ] && echo {state}\n')
    systemctl.chmod(0o755)
    flag = EvacuationFlag()
    async with AsyncExitStack() as stack:
        application = AdminRoutes(flag, idle_courier()).application()
        async with listening(application, "127.0.0.1:0", None) as address:
            path = f"{systemctl.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            stop = script("stop", configure(f"127.0.0.1:{address.port}"), PATH=path)
            ended = await stack.enter_async_context(stop)
            if evacuates:
                async with asyncio.timeout(PATIENCE_S):
                    await flag.wait()
            else:
                assert await ended == (0, "", "")
        if evacuates:
            assert (await ended)[:2] == (0, "0\n")
    assert bool(flag) is evacuates
