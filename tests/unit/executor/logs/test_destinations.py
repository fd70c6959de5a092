"""Files and sockets as destinations of lines."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import resource
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bbs.client.identity import IdentityFiles
from executor.logs.files import AppendedFile, JsonLines, OpenFile
from executor.logs.shipper import LineShipper, Unreachable
from executor.logs.sockets import MAX_UDP_BYTES, StreamConnection, UDPDatagrams, UnixDatagrams
from executor.logs.targets import InvalidTarget, Target, open_target, parse_target
from executor.logs.writing import write_whole
from tests.support.loglines import make_line
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


def messages(data: bytes) -> list[str]:
    return [json.loads(text)["message"] for text in data.splitlines()]


async def test_a_pipe_nobody_reads_blocks_nobody() -> None:
    """Neither the loop, nor another sink, nor the end of the cell waits for a reader that has stopped."""
    reader, writer = os.pipe()
    try:
        stuck = LineShipper("stdout", JsonLines(), OpenFile(writer), close_limit_s=0.1)
        shipper = LineShipper("stderr", JsonLines(), OpenFile(writer))
        async with stuck.running():
            for _ in range(10):
                stuck.emit(make_line("x" * 60_000))
            await asyncio.to_thread(until_full, reader)
        assert stuck.dropped > 0
        stuck_threads = [each for each in threading.enumerate() if each.name.startswith("log sink")]
        assert stuck_threads
        assert all(each.daemon for each in stuck_threads)
        async with shipper.running():
            shipper.emit(make_line("later"))
            read = await asyncio.to_thread(read_until, reader, b"later")
        assert messages(read.splitlines()[-1]) == ["later"]
    finally:
        os.close(reader)
        os.close(writer)


def until_full(reader: int) -> None:
    """The pipe holds all it can, so its writer waits."""
    size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    while struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0] < size:
        time.sleep(0.001)


def read_until(reader: int, end: bytes) -> bytes:
    data = b""
    while end not in data[-1000:] or not data.endswith(b"\n"):
        data += os.read(reader, 65536)
    return data


def write_often(descriptor: int, data: bytes) -> None:
    for _ in range(50):
        write_whole(descriptor, [data[:5000], data[5000:]])


def test_lines_of_several_writers_of_one_pipe_stay_whole() -> None:
    """The component's log and apps' logs often share standard output."""
    reader, writer = os.pipe()
    other = os.dup(writer)
    writers = [
        threading.Thread(target=write_often, args=(fd, mark * 9999 + b"\n"))
        for fd, mark in ((writer, b"a"), (other, b"b"))
    ]
    for thread in writers:
        thread.start()
    data = b""
    while data.count(b"\n") < 100:
        data += os.read(reader, 65536)
    for thread in writers:
        thread.join()
    for fd in (reader, writer, other):
        os.close(fd)
    assert sorted(data.splitlines()) == [b"a" * 9999] * 50 + [b"b" * 9999] * 50


async def test_a_pipe_without_a_reader_is_unreachable() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    file = OpenFile(writer)
    os.close(writer)
    with pytest.raises(Unreachable, match="Broken pipe"):
        await file.send([b"x"])
    await file.close()


async def test_each_file_is_written_by_a_thread_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs costs its own sink: a second file, and all other work in threads, go on."""
    disk = threading.Event()
    hanging, other = AppendedFile(tmp_path / "hangs"), AppendedFile(tmp_path / "other")
    monkeypatch.setattr(hanging, "_write", lambda _: disk.wait(60))
    sending = [asyncio.create_task(hanging.send([b"x"])) for _ in range(40)]  # more than the loop has threads
    async with asyncio.timeout(PATIENCE_S):
        await other.send([b"y"])
        assert await asyncio.to_thread(lambda: "free") == "free"
    assert not any(task.done() for task in sending)
    await hanging.close()
    await other.close()
    disk.set()
    await asyncio.gather(*sending)
    assert (tmp_path / "other").read_bytes() == b"y"


async def test_a_file_that_was_rotated_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    file = AppendedFile(path)
    await file.send([b"a"])
    await file.send([b"b"])
    path.rename(tmp_path / "app.log.1")
    await file.send([b"c"])
    await file.close()
    assert (tmp_path / "app.log.1").read_bytes() == b"ab"
    assert path.read_bytes() == b"c"


async def test_a_folder_that_is_missing_is_unreachable(tmp_path: Path) -> None:
    file = AppendedFile(tmp_path / "missing" / "app.log")
    with pytest.raises(Unreachable, match="No such file"):
        await file.send([b"x"])
    await file.close()


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Sets how large this process may make files; writing more fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_leaves_no_half_batch(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    path = tmp_path / "app.log"
    file = AppendedFile(path)
    await file.send([b"before"])
    file_size_limit(8)
    with pytest.raises(Unreachable, match="File too large"):
        await file.send([b"lost"])
    await file.close()
    assert path.read_bytes() == b"before"


async def test_unix_datagrams(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    destination = UnixDatagrams(path)
    with pytest.raises(Unreachable, match="No such file"):
        await destination.send([b"early"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        assert not await destination.send([b"a", b"b"])
        assert [server.recv(10), server.recv(10)] == [b"a", b"b"]
    with pytest.raises(Unreachable) as caught:
        await destination.send([b"c"])
    assert caught.value.sent == 0
    await destination.close()


async def test_a_line_too_long_for_a_socket_is_refused_and_the_next_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    destination = UnixDatagrams(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        lines = [b"x" * 5_000_000, b"y"]
        assert await destination.send(lines) == {0}
        assert server.recv(10) == b"y"
    await destination.close()


async def test_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        destination = UDPDatagrams("127.0.0.1", server.getsockname()[1])
        assert not await destination.send([b"a", b"z" * 70_000])
        assert server.recv(10) == b"a"
        assert len(server.recv(100_000)) == MAX_UDP_BYTES
        await destination.close()


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[tuple[int, asyncio.Queue[asyncio.StreamReader]]]:
    """A TCP server: its port and the connections it got. Closes them when left."""
    readers: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.put_nowait(reader)
        writers.append(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1], readers
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_a_stream_reconnects_when_its_peer_went() -> None:
    async with collecting() as (port, connections):
        destination = StreamConnection("127.0.0.1", port)
        await destination.send([b"a", b"b"])
        assert await (await connections.get()).readexactly(2) == b"ab"
        connection = destination._streams
    assert connection is not None
    await connection[0].read()
    with pytest.raises(Unreachable):
        await destination.send([b"c"])
    async with collecting(port) as (_, connections):
        await destination.send([b"c"])
        reader = await connections.get()
        assert await reader.readexactly(1) == b"c"
        await destination.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_an_encrypted_stream_trusts_the_authority_it_is_given(tls_identity: IdentityFiles) -> None:
    files = tls_identity
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ca_file))
    context.load_cert_chain(files.cert_file, files.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readuntil(b" ")
        came.put_nowait(await reader.readexactly(int(length)))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        identity = f"ca={files.ca_file}&cert={files.cert_file}&key={files.key_file}"
        shipper = open_target(f"syslog+tls://127.0.0.1:{port}?{identity}")
        async with shipper.running(), asyncio.timeout(PATIENCE_S):
            shipper.emit(make_line("secret"))
            assert (await came.get()).endswith(b" secret")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("stdout", Target(kind="stdout")),
        ("stderr", Target(kind="stderr")),
        ("file:/var/log/apps.log", Target(kind="file", path="/var/log/apps.log")),
        ("journald", Target(kind="journald", path="/run/systemd/journal/socket")),
        ("journald:/run/x", Target(kind="journald", path="/run/x")),
        ("syslog+udp://logs", Target(kind="syslog+udp", host="logs", port=514)),
        ("syslog+tcp://10.0.0.1:1514/", Target(kind="syslog+tcp", host="10.0.0.1", port=1514)),
        ("syslog+tcp://[::1]:1514", Target(kind="syslog+tcp", host="::1", port=1514)),
        ("syslog+unix:/dev/log", Target(kind="syslog+unix", path="/dev/log")),
        (
            "syslog+tls://logs?ca=/ca.crt&cert=/c.crt&key=/c.key",
            Target(kind="syslog+tls", host="logs", port=6514, ca="/ca.crt", cert="/c.crt", key="/c.key"),
        ),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected one of stdout, stderr, file"),
        ("stdout:/x", "expected one of"),
        ("file:", "expected an absolute path, as in file:/path"),
        ("file:relative", "expected an absolute path"),
        ("syslog+tcp:host", "expected syslog.tcp://host:port"),
        ("syslog+tcp://host:70000", "Port out of range"),
        ("syslog+tcp://host:x", "Port could not be cast"),
        ("syslog+tcp://host/path", "expected syslog.tcp://host:port"),
        ("syslog+tcp://host?ca=/x", "unknown option ca"),
        ("syslog+tls://host?cert=/x", "cert and key need each other"),
    ],
)
def test_texts_that_are_no_targets(text: str, said: str) -> None:
    with pytest.raises(InvalidTarget, match=said):
        parse_target(text)


async def test_what_a_target_names_is_where_lines_arrive(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        for kind, expected in (("journald", b"MESSAGE=hello\n"), ("syslog+unix", b" cell-9 app-guid ")):
            shipper = open_target(f"{kind}:{path}", hostname="cell-9")
            async with shipper.running():
                shipper.emit(make_line("hello"))
            assert expected in server.recv(10_000)
    async with collecting() as (port, connections):
        shipper = open_target(f"syslog+tcp://127.0.0.1:{port}", hostname="cell-9")
        async with shipper.running():
            shipper.emit(make_line("hello"))
            reader = await connections.get()
            length = await reader.readuntil(b" ")
            assert (await reader.readexactly(int(length))).endswith(b" hello")
