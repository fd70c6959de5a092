"""Output of apps that the cell reads: bounded in bytes and time, and strictly parsed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from executor import cgroup
from executor.engine.api import ContainerSpec, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.engine.fifos import STATUS_LIMIT, ProcessFifos, StatusReader, StatusSpoiled
from executor.engine.output import OutputReader, OutputTurns
from executor.engine.process import DockerProcess
from executor.engine.processes import SURVIVORS_MOST
from executor.logs.api import LogLine
from executor.logs.streamer import LogStreamer
from executor.model import LogConfig
from executor.steps.output_wrapper import HEAD_BYTES, TAIL_BYTES, CapturedOutput
from executor.watch import counters, layerusage, treesize
from executor.watch.layerusage import LayerUsage
from tests.support.waiting import until

PIPE_BYTES = 1 << 20
"""The most that a process without privileges may make of a pipe."""


@dataclass
class Ended:
    """A process that has just ended, and what it may have written into its own FIFOs before."""

    fifos: ProcessFifos
    directory: Path
    parent: subprocess.Popen[bytes]
    output: bytearray = field(default_factory=bytearray)
    turns: list[int] = field(default_factory=list)
    writers: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        fd = self.writers[name] = os.open(self.directory / name, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        assert os.write(fd, data) == len(data)

    def process(self, handler: Callable[[bytes], None] | None = None) -> DockerProcess:
        """Watch it, as the executor does; its parent has ended."""
        take = handler or self._take
        fifos = self.fifos
        turns = OutputTurns()
        readers = (
            OutputReader(fifos.take("out"), take, turns, "guid"),
            OutputReader(fifos.take("err"), take, turns, "guid"),
        )
        process = DockerProcess(
            name="p1",
            pid=self.parent.pid,
            child_fd=-1,
            parent_fd=os.pidfd_open(self.parent.pid),
            status=StatusReader(fifos.take("status")),
            fifos=fifos,
            readers=readers,
        )
        self.parent.kill()
        return process

    def _take(self, data: bytes) -> None:
        self.output += data
        self.turns.append(len(data))


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Ended]:
    directory = tmp_path / "p1"
    parent = subprocess.Popen(["sleep", "1000"])
    made = Ended(ProcessFifos.make(directory, (os.getuid(), os.getgid())), directory, parent)
    try:
        yield made
    finally:
        made.fifos.close()
        for fd in made.writers.values():
            os.close(fd)
        parent.kill()
        parent.wait()


@pytest.mark.unit
@pytest.mark.parametrize(
    ("written", "status"),
    [
        (b"0\n", 0),
        (b"255\n", 255),
        (b"256\n", 137),
        (b"-1\n", 137),
        (b"7" * 5000 + b"\n", 137),
        (b"7" * 5000 + b"\n3\n", 137),
        ("\u0663\n".encode(), 137),
        ("\u00b2\n".encode("latin-1"), 137),
        (b"\xff\xfe\n", 137),
        (b"1_0\n", 137),
        (b"+3\n", 137),
        (b"\0" * STATUS_LIMIT * 2, 137),
        (b"1\n" * (PIPE_BYTES // 2), 137),
        (b"", 137),
    ],
)
async def test_an_exit_status_is_a_number_up_to_255_and_anything_else_a_killed_process(
    ended: Ended, written: bytes, status: int
) -> None:
    """An app that writes 5,000 digits, or a full pipe, into its own status FIFO ends once, like any other."""
    if written:
        ended.write("status", written)
    process = ended.process()
    async with asyncio.timeout(10):
        assert await process.wait() == status
    process.abandon()
    assert process.finished


@pytest.mark.unit
async def test_a_writer_that_never_stops_does_not_hold_up_the_exit(ended: Ended) -> None:
    """Writers that refill the status FIFO as fast as it is read cost one read of a bounded size."""
    ended.write("status", b"1\n" * (PIPE_BYTES // 2))
    reads: list[int] = []
    real = os.read

    def read(fd: int, size: int) -> bytes:
        data = real(fd, size)
        if data.startswith((b"1", b"\n")):
            reads.append(size)
            with suppress(BlockingIOError):  # the pipe is full again
                os.write(ended.writers["status"], b"1" * len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", read)
        process = ended.process()
        async with asyncio.timeout(10):
            assert await process.wait() == 137
    process.abandon()
    assert sum(reads) <= 2 * (STATUS_LIMIT + 1)


@pytest.mark.unit
async def test_a_start_gives_up_on_a_status_that_says_too_much(ended: Ended) -> None:
    """A process that fills the status FIFO of one that is being started does not feed a growing buffer."""
    ended.write("status", b"x" * PIPE_BYTES)
    status = StatusReader(ended.fifos.take("status"))
    parent_fd = os.pidfd_open(ended.parent.pid)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(StatusSpoiled):
                await status.ready(parent_fd)
    finally:
        os.close(status.fd)
        os.close(parent_fd)


@pytest.mark.unit
async def test_last_words_of_a_mebibyte_are_read_in_turns(ended: Ended) -> None:
    """A full pipe at the exit does not take the loop in one go, and none of it is lost."""
    ended.write("status", b"3\n")
    ended.write("out", b"\n" * PIPE_BYTES)
    process = ended.process()
    async with asyncio.timeout(20):
        assert await process.wait() == 3
    assert len(ended.output) == PIPE_BYTES
    assert max(ended.turns) <= 65536
    process.abandon()
    assert process.finished


@pytest.mark.unit
async def test_a_handler_that_fails_costs_its_own_output_only(
    ended: Ended, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in the handling of output is logged once, and the exit is still reported."""
    taken: list[bytes] = []

    def fail(data: bytes) -> None:
        taken.append(data)
        raise UnicodeDecodeError("utf-8", data, 0, 1, "no")

    ended.write("status", b"0\n")
    ended.write("out", b"x" * 200_000)
    process = ended.process(fail)
    async with asyncio.timeout(10):
        assert await process.wait() == 0
    process.abandon()
    assert sum(map(len, taken)) == 200_000
    assert [record.message for record in caplog.records] == ["output-handler-failed"]
    assert caplog.records[0].exc_info is not None


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory for deep trees, which ``shutil.rmtree`` of the test runner cannot remove."""
    root = tmp_path / "deep"
    root.mkdir()
    try:
        yield root
    finally:
        subprocess.run(["rm", "-rf", root], check=True)


def nest(root: Path, depth: int, name: str, leaf_bytes: int) -> None:
    """Directories in each other, by descriptors, as ``mkdir; cd`` in a loop makes them, and a file below."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    leaf = os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(leaf, b"x" * leaf_bytes)
    os.close(leaf)
    os.close(here)


@pytest.mark.unit
@pytest.mark.parametrize(("depth", "name"), [(3, "d"), (1200, "d"), (300, "d" * 200)])
def test_files_are_counted_at_any_depth_and_behind_any_path(deep: Path, depth: int, name: str) -> None:
    """1,000 nested directories neither end the count nor hide 8 MiB behind a path longer than PATH_MAX."""
    nest(deep, depth, name, 8 << 20)
    usage = layerusage.below(deep)
    assert usage.inodes == depth + 2
    assert usage.size >= 8 << 20


@pytest.mark.unit
def test_directories_nested_beyond_any_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(treesize, "DEPTH_MOST", 50)
    nest(tmp_path, 49, "d", 1)
    assert layerusage.below(tmp_path).inodes == 51
    nest(tmp_path / "d", 49, "e", 1)
    with pytest.raises(treesize.Uncountable, match="more than 50 deep"):
        layerusage.below(tmp_path)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("limits", "most"),
    [(LayerUsage(0, 10), LayerUsage(1 << 40, 11)), (LayerUsage(40_960), LayerUsage(45_056))],
)
def test_the_count_ends_at_the_limit(tmp_path: Path, limits: LayerUsage, most: LayerUsage) -> None:
    """A layer of far more files than it may have is not counted to its end."""
    for number in range(200):
        (tmp_path / str(number)).write_bytes(b"x" * 4096)
    usage = layerusage.below(tmp_path, limits)
    assert usage.size <= most.size
    assert usage.inodes <= (most.inodes or 200)
    assert usage.inodes > limits.inodes or usage.size > limits.size


@pytest.mark.unit
def test_the_count_follows_no_link_and_counts_a_file_once(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(b"x" * (1 << 20))
    upper = tmp_path / "upper"
    (upper / "a").mkdir(parents=True)
    (upper / "a" / "one").write_bytes(b"x" * 8192)
    os.link(upper / "a" / "one", upper / "two")
    (upper / "link").symlink_to(outside)
    (upper / "a" / "up").symlink_to("..")
    os.mkfifo(upper / "fifo")
    usage = layerusage.below(upper)
    assert usage.inodes == 6
    assert usage.size < 1 << 19


@pytest.mark.unit
def test_a_count_amid_moving_directories_ends_and_leaves_no_descriptor(tmp_path: Path) -> None:
    """Directories that are moved elsewhere while they are counted lead the count nowhere else."""
    upper, other = tmp_path / "upper", tmp_path / "other"
    other.mkdir()
    for branch in range(5):
        (upper / f"a{branch}" / "b" / "c").mkdir(parents=True)
        (upper / f"a{branch}" / "b" / "c" / "file").write_text("x")
    before = set(os.listdir("/proc/self/fd"))
    seen = 0
    for seen, _ in enumerate(treesize.sizes_below(upper), 1):
        for moved in upper.glob("*/b"):
            if seen % 3 == 0:
                moved.rename(other / f"{seen}-{moved.parent.name}")
    assert 6 <= seen <= 21
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.unit
def test_directories_that_are_moved_all_the_time_hide_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app that moves each directory while it is counted does not get a count that is too low."""
    monkeypatch.setattr(treesize, "RESTARTS_MOST", 5)
    upper, other = tmp_path / "upper", tmp_path / "other"
    other.mkdir()
    for branch in range(20):
        (upper / f"a{branch}" / "b").mkdir(parents=True)
        (upper / f"a{branch}" / "b" / "file").write_text("x")
    before = set(os.listdir("/proc/self/fd"))

    def count() -> None:
        for seen, _ in enumerate(treesize.sizes_below(upper)):
            for moved in upper.glob("*/b"):
                moved.rename(other / f"{seen}-{moved.parent.name}")
                moved.mkdir()
                (moved / "file").write_text("x")

    with pytest.raises(treesize.Uncountable, match="are moved all the time"):
        count()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.unit
def test_an_app_does_not_see_where_the_count_is(tmp_path: Path) -> None:
    """Times of access would tell the app when to move files to where the count has been."""
    folder = tmp_path / "upper" / "a"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    for path in (folder.parent, folder):
        os.utime(path, (1, 2))
    layerusage.below(folder.parent)
    assert [path.stat().st_atime for path in (folder.parent, folder)] == [1, 1]


@pytest.mark.unit
def test_what_processes_call_themselves_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process name that is not text, in a full process table, is reported with replacement characters."""
    proc, groups = tmp_path / "proc", tmp_path / "group"
    groups.mkdir()
    (groups / "memory.events").write_text("oom_kill 0\n")
    (groups / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in range(100, 700)))
    (proc / "77").mkdir(parents=True)
    (proc / "77" / "cgroup").write_text("0::/docker/abc\n")
    looked: list[str] = []
    for pid in range(100, 700):
        folder = proc / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "limits").write_text("Max open files            7     7     files\n")
        (folder / "comm").write_bytes(b"\xff\xfe\n")

    def has_open(folder: Path, count: int) -> bool:
        looked.append(folder.parent.name)
        return count == 7 and folder.parent.name in ("100", "101")

    monkeypatch.setattr(cgroup, "PROC", proc)
    monkeypatch.setattr(counters, "_has_open", has_open)
    mount = cgroup.Mount("/docker/abc", str(groups), "cgroup2", "rw")
    found = counters.read_limit_counters(77, "abc", [mount])
    assert [(table.pid, table.name) for table in found.full_tables] == [
        (100, "\ufffd\ufffd"),
        (101, "\ufffd\ufffd"),
    ]
    assert len(looked) == counters.PROCESSES_MOST


@pytest.mark.unit
def test_a_list_of_mounts_of_any_length_and_bytes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A privileged app may mount at a hundred thousand places with names that are no text."""
    (tmp_path / "7").mkdir()
    line = b"1 1 0:1 / /\xff\xff rw - tmpfs none rw\n"
    (tmp_path / "7" / "mountinfo").write_bytes(
        b"1 1 0:1 / / rw - overlay none rw,upperdir=/u\n" + line * 300_000
    )
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    monkeypatch.setattr(cgroup, "MOUNTS_MOST", 1 << 20)
    assert layerusage.upper_directory(7) == Path("/u")


@pytest.mark.unit
def test_a_chatty_probe_is_remembered_by_its_first_and_last_words() -> None:
    """A probe that writes 64 MiB costs 64 KiB; twenty of them side by side do not fill the memory."""
    captured = CapturedOutput(LogStreamer(NoSink(), LogConfig()))
    output = captured.stream()
    output.stdout(b"first words\n")
    for _ in range(1024):
        output.stderr(b"\0" * 65536)
    output.stdout(b"last words \xff\n")
    text = captured.text
    assert text.startswith("first words\n")
    assert text.endswith("last words \ufffd")
    assert f"({(64 << 20) + 26 - HEAD_BYTES - TAIL_BYTES - 1} bytes omitted)" in text
    assert len(text) < HEAD_BYTES + TAIL_BYTES + 100


@pytest.mark.unit
@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES])
def test_the_output_of_an_ordinary_probe_is_kept_whole(size: int) -> None:
    captured = CapturedOutput(LogStreamer(NoSink(), LogConfig()))
    output = captured.stream()
    for _ in range(size):
        output.stdout(b"x")
    assert captured.text == "x" * size


class NoSink:
    def emit(self, line: LogLine) -> None:
        """Nothing is sent."""


@pytest.mark.docker
async def test_children_that_keep_the_output_of_ended_processes_cost_a_few_descriptors(
    engine: DockerEngine, rootfs_image: str
) -> None:
    """Each of twelve probes leaves a child that holds stdout and stderr: not two descriptors for each."""
    container = await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))
    spec = ProcessSpec(path="/bin/sh", args=("-c", "sleep 1000 & exit 3"))
    async with asyncio.timeout(60):
        for _ in range(12):
            process = await engine.start_process(container, spec, lambda _: None, lambda _: None)
            assert await process.wait() == 3

    def held() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return len([link for link in links if "/io/g1/" in str(link.readlink())])

    await until(lambda: 2 <= held() <= 2 * (SURVIVORS_MOST + 1), "descriptors of ended processes")
