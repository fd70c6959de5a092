"""A stock OpenSSH client through the proxy to a real daemon."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sshd.ssh.algorithms import POST_QUANTUM, algorithms, proxy_key_exchanges
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """Sends everything back when its client has finished sending: only half-close makes that work."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def round_trip(port: int, data: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received


async def until_refused(port: int) -> None:
    """Return once the listener is gone, which may take a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()
            with suppress(ConnectionError):  # what ends a listener may have taken it before it has ended
                await writer.wait_closed()


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", one, other], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("protocol", ["-O", "-s"])
async def test_scp_of_a_tree_there_and_back(
    protocol: str, setting: Any, stock: Any, daemon: Any, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    (tree / "big").write_bytes(os.urandom(3_000_000))
    (tree / "sub dir" / "run").write_text("x")
    (tree / "sub dir" / "run").chmod(0o750)
    (tree / "empty").touch()
    os.utime(tree / "empty", (1_200_000_000, 1_200_000_000))
    command = ["scp", *stock.options, "-o", "User=diego:guid/0", protocol, "-q", "-r", "-p"]
    command += ["-P", setting.port]
    where = f"127.0.0.1:{daemon.home}/proxied{protocol}"
    there = await stock.run(*command, tree, where)
    assert (there.status, there.err) == (0, b"")
    back = await stock.run(*command, where, tmp_path / "back")
    assert (back.status, back.err) == (0, b"")
    assert same(tree, tmp_path / "back")
    assert (tmp_path / "back" / "sub dir" / "run").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "back" / "empty").stat().st_mtime == 1_200_000_000


async def test_scp_of_what_is_not_there(setting: Any, stock: Any, tmp_path: Path) -> None:
    command = ["scp", *stock.options, "-o", "User=diego:guid/0", "-O", "-P", setting.port]
    done = await stock.run(*command, "127.0.0.1:/no/such", tmp_path)
    assert done.status == 1
    assert b"stat /no/such: no such file or directory" in done.err


async def test_sftp_commands(setting: Any, stock: Any, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(os.urandom(1_000_000))
    batch = f"""\
        mkdir {tmp_path}/d
        put {tmp_path}/local {tmp_path}/d/remote
        rename {tmp_path}/d/remote {tmp_path}/d/renamed
        get {tmp_path}/d/renamed {tmp_path}/again
        rm {tmp_path}/d/*
        rmdir {tmp_path}/d
        """
    options = [*stock.options, "-o", "User=diego:guid/0"]
    # no -b: it forbids to ask for a password
    done = await stock.run("sftp", *options, "-P", setting.port, "127.0.0.1", stdin=batch.encode())
    assert done.status == 0, done.err
    assert (tmp_path / "again").read_bytes() == (tmp_path / "local").read_bytes()
    assert not (tmp_path / "d").exists()


async def test_rsync(setting: Any, stock: Any, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for number in range(20):
        (tmp_path / "from" / f"file{number}").write_bytes(os.urandom(number * 1000))
    shell = " ".join([*stock.ssh(setting)[:-1]])
    done = await stock.run("rsync", "-a", "-e", shell, f"{tmp_path}/from/", f"127.0.0.1:{tmp_path}/to/")
    assert (done.status, done.err) == (0, b"")
    assert same(tmp_path / "from", tmp_path / "to")


async def test_a_local_forward(setting: Any, stock: Any, tmp_path: Path, port: int) -> None:
    data = os.urandom(3_000_000)
    async with echo_server() as target:
        forward = ("-L", f"127.0.0.1:{port}:127.0.0.1:{target}")
        async with stock.staying(setting, tmp_path / "c", *forward):
            assert await round_trip(port, data) == data
            together = await asyncio.gather(*(round_trip(port, data[:number]) for number in range(1, 20)))
            assert together == [data[:number] for number in range(1, 20)]


async def test_a_remote_forward_and_its_end(setting: Any, stock: Any, tmp_path: Path, port: int) -> None:
    data = os.urandom(3_000_000)
    async with echo_server() as target:
        forward = ("-R", f"127.0.0.1:{port}:127.0.0.1:{target}")
        must = ("-o", "ExitOnForwardFailure=yes")
        async with stock.staying(setting, tmp_path / "c", *must, *forward) as talk:
            assert await round_trip(port, data) == data
            cancelled = await stock.run(*talk, "-O", "cancel", *forward, "127.0.0.1")
            assert cancelled.status == 0, cancelled.err
            await until_refused(port)


async def test_a_remote_forward_of_any_port_tells_which(setting: Any, stock: Any, tmp_path: Path) -> None:
    async with echo_server() as target, stock.staying(setting, tmp_path / "c") as talk:
        given = await stock.run(*talk, "-O", "forward", "-R", f"*:0:127.0.0.1:{target}", "127.0.0.1")
        assert await round_trip(int(given.out), b"hello") == b"hello"


async def test_a_remote_forward_that_cannot_be(setting: Any, stock: Any, tmp_path: Path) -> None:
    async with echo_server() as taken:
        wanted = ("-o", "ExitOnForwardFailure=yes", "-N", "-R", f"127.0.0.1:{taken}:127.0.0.1:{taken}")
        done = await stock.run(*stock.ssh(setting, *wanted))
    assert done.status == 255


async def test_a_refused_connection_says_why(setting: Any, stock: Any, port: int) -> None:
    command = stock.ssh(setting, "-W", f"127.0.0.1:{port}")
    done = await stock.run(*[part.replace("LogLevel=ERROR", "LogLevel=INFO") for part in command])
    assert done.status == 255
    assert f"connect failed: dial tcp 127.0.0.1:{port}: connect: connection refused".encode() in done.err


async def test_rekeying_in_the_middle_of_a_transfer(setting: Any, stock: Any) -> None:
    data = os.urandom(8_000_000)
    done = await stock.run(*stock.ssh(setting, "-o", "RekeyLimit=1M"), "cat", stdin=data)
    assert done.out == data


async def test_a_client_that_is_killed_in_the_middle_of_a_transfer(
    setting: Any, stock: Any, daemon: Any
) -> None:
    """The command gets an error when it writes its output."""
    mark = daemon.home / "writes"
    command = f"echo $$ > {mark}; exec cat /dev/zero"
    running = await stock.start(*stock.ssh(setting), command)
    assert running.stdout is not None
    await running.stdout.readexactly(1_000_000)
    running.kill()
    pid = int(mark.read_text())
    await running.communicate()
    await setting.told.until_over()
    async with asyncio.timeout(PATIENCE_S):
        while Path(f"/proc/{pid}").exists():
            await asyncio.wait_for(asyncio.shield(_soon()), 1)


async def _soon() -> None:
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, turn.set_result, None)
    await turn


async def test_a_daemon_that_dies_under_a_session(
    daemons: Any, open_proxy: Any, stock: Any, tmp_path: Path
) -> None:
    with daemons.run(tmp_path) as daemon:
        async with open_proxy(daemon.port) as running:
            client = await stock.start(*stock.ssh(running), "echo there; sleep 60")
            assert client.stdout is not None
            assert await client.stdout.readline() == b"there\n"
            daemon.stop()
            async with asyncio.timeout(PATIENCE_S):
                await client.communicate()
            assert client.returncode == 255
            await running.told.until_over()


async def test_nobody_listens_there(open_proxy: Any, stock: Any, port: int) -> None:
    async with open_proxy(port) as running:
        done = await stock.run(*stock.ssh(running), "true")
        assert (done.status, done.out) == (255, b"")
        await running.told.until(lambda told: told.counts[-1:] == [0])
    assert running.told.lines == []
    assert running.log.errors("failed-to-reach-instance") == [
        f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    ]


async def test_a_daemon_that_does_not_let_the_proxy_in(
    setting: Any, stock: Any, process: Any, keys: Any
) -> None:
    setting.table.desired = process(private_key=keys.other_users[0])
    done = await stock.run(*stock.ssh(setting), "true")
    assert (done.status, done.out) == (255, b"")
    assert setting.log.errors("failed-to-reach-instance") != []
    setting.table.desired = process(private_key="no key")
    assert (await stock.run(*stock.ssh(setting), "true")).status == 255
    assert "private_key of the route" in str(setting.log.errors("failed-to-reach-instance")[-1])


async def test_post_quantum_key_exchange(
    open_proxy: Any, daemon: Any, connect_to: Any, password: Any
) -> None:
    """A proxy that is configured for it and a client agree on it."""
    offer = algorithms(key_exchanges=POST_QUANTUM.decode(), known_key_exchanges=proxy_key_exchanges())
    async with open_proxy(daemon.port, algorithms=offer) as running:
        client = await connect_to(running.port, password)
        assert (await client.open()).channel.room()
