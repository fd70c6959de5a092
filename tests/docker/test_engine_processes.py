"""Processes in real containers: exits, output, signals, users, directories, limits, start failures."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import psutil
import pytest

from executor.engine.api import ContainerSpec, EngineContainer, Process, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.errors import ContainerGone, ProcessStartError

pytestmark = pytest.mark.docker


class Output:
    """Collects a process' output and wakes who waits for a text in it."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self._more = asyncio.Event()

    def on_out(self, data: bytes) -> None:
        self.out += data
        self._more.set()

    def on_err(self, data: bytes) -> None:
        self.err += data
        self._more.set()

    async def seen(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.out:
                self._more.clear()
                await self._more.wait()


Start = Callable[[ProcessSpec], Awaitable[tuple[Process, Output]]]
Run = Callable[[ProcessSpec], Awaitable[tuple[int, Output]]]


@pytest.fixture
async def container(engine: DockerEngine, rootfs_image: str) -> EngineContainer:
    return await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))


@pytest.fixture
def start(engine: DockerEngine, container: EngineContainer) -> Start:
    async def started(spec: ProcessSpec) -> tuple[Process, Output]:
        output = Output()
        return await engine.start_process(container, spec, output.on_out, output.on_err), output

    return started


@pytest.fixture
def run(start: Start) -> Run:
    async def ran(spec: ProcessSpec) -> tuple[int, Output]:
        process, output = await start(spec)
        async with asyncio.timeout(20):
            return await process.wait(), output

    return ran


async def command_line(process: Process) -> list[str]:
    """Of a process that may be replacing its program right now, and has none meanwhile."""
    async with asyncio.timeout(20):
        while True:
            if words := psutil.Process(process.pid).cmdline():
                return words
            await asyncio.sleep(0.01)


def sh(script: str, *, user: str = "root", dir: str = "", nofile: int | None = None) -> ProcessSpec:
    return ProcessSpec(path="/bin/sh", args=("-c", script), user=user, dir=dir, nofile=nofile)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 126", 126),
        ("exit 127", 127),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ],
)
async def test_the_exit_status_is_told(run: Run, script: str, status: int) -> None:
    assert (await run(sh(script)))[0] == status


async def test_streams_are_kept_apart_and_hold_nothing_of_ours(run: Run) -> None:
    _, output = await run(sh("echo to out; echo to err >&2; kill -TERM $$"))
    assert (bytes(output.out), bytes(output.err)) == (b"to out\n", b"to err\n")


async def test_no_line_of_many_is_lost(run: Run) -> None:
    _, output = await run(sh("seq 100000"))
    assert bytes(output.out) == b"".join(b"%d\n" % number for number in range(1, 100_001))


async def test_a_child_that_keeps_the_output_does_not_delay_the_exit_and_is_heard(start: Start) -> None:
    process, output = await start(
        sh("mkfifo /tmp/gate; (read line </tmp/gate; echo late) & echo early; exit 5")
    )
    async with asyncio.timeout(20):
        assert await process.wait() == 5
        assert bytes(output.out) == b"early\n"
        await start(sh("echo go >/tmp/gate"))
        await output.seen(b"late\n")


async def test_a_signal_reaches_the_process_only(start: Start, run: Run) -> None:
    process, output = await start(sh("trap 'echo asked; exit 9' TERM; sleep 1000 & echo $!; wait"))
    await output.seen(b"\n")
    await process.signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await process.wait() == 9
    child = bytes(output.out).split()[0].decode()
    assert b"asked" in output.out
    assert (await run(sh(f"kill -0 {child}")))[0] == 0


async def test_a_killed_process_and_later_signals(start: Start) -> None:
    process, output = await start(sh("trap '' TERM; echo up; while :; do sleep 1; done"))
    await output.seen(b"up")
    await process.signal(signal.SIGTERM)
    await process.signal(signal.SIGKILL)
    async with asyncio.timeout(20):
        assert await process.wait() == 137
    await process.signal(signal.SIGTERM)


async def test_the_pid_is_the_process_own(start: Start) -> None:
    process, output = await start(ProcessSpec(path="/bin/sleep", args=("1000",)))
    assert await command_line(process) == ["/bin/sleep", "1000"]
    assert os.getpgid(process.pid) == process.pid == os.getsid(process.pid)
    await process.signal(signal.SIGKILL)
    await process.wait()
    assert not output.err


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("root", b"uid=0(root) gid=0(root) groups=0(root)"),
        ("", b"uid=0(root) gid=0(root) groups=0(root)"),
        ("vcap", b"uid=2000(vcap) gid=2000(vcap) groups=50(staff),2000(vcap)"),
        ("2000", b"uid=2000(vcap) gid=2000(vcap) groups=50(staff),2000(vcap)"),
        ("vcap:staff", b"uid=2000(vcap) gid=50(staff) groups=50(staff)"),
        ("1234:50", b"uid=1234 gid=50(staff) groups=50(staff)"),
        ("1234", b"uid=1234 gid=0(root) groups=0(root)"),
    ],
)
async def test_users(run: Run, user: str, told: bytes) -> None:
    status, output = await run(ProcessSpec(path="/bin/id", user=user))
    assert (status, bytes(output.out).strip()) == (0, told)


async def test_an_empty_directory_is_the_home(run: Run) -> None:
    _, output = await run(sh("pwd", user="vcap"))
    assert bytes(output.out) == b"/home/vcap\n"


async def test_a_missing_directory_is_made_with_its_parents(run: Run) -> None:
    _, output = await run(
        sh("pwd; stat -c '%u:%g %a' /srv/a /srv/a/b; touch here", user="vcap", dir="/srv/a/b")
    )
    assert bytes(output.out) == b"/srv/a/b\n2000:2000 755\n2000:2000 755\n"
    assert not output.err


async def test_the_limit_of_open_files(run: Run) -> None:
    _, output = await run(sh("ulimit -Sn; ulimit -Hn", user="vcap", nofile=321))
    assert bytes(output.out) == b"321\n321\n"


async def test_the_environment_arrives_unchanged(run: Run) -> None:
    given = tuple(
        (name, f"{name}=a 'b' \"c\"\nd$e")
        for name in (
            *(
                "A",
                "_",
                "my-var",
                "a.b",
                "1x",
                "IFS",
                "PWD",
                "OLDPWD",
                "SHLVL",
                "REPLY",
                "OPTIND",
                "PPID",
                "PS1",
            ),
            *(
                "HOSTNAME",
                "RANDOM",
                "LINENO",
                "ENV",
                "BASH",
                "TMOUT",
                "MAIL",
                "LC_ALL",
                "HOME",
                "USER",
                "CDPATH",
            ),
        )
    )
    _, output = await run(ProcessSpec(path="/bin/env", args=("-0",), env=given))
    told = bytes(output.out).decode().split("\0")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert told == [*(f"{name}={value}" for name, value in given), path, ""]


async def test_the_default_environment_holds_nothing_else(run: Run) -> None:
    _, output = await run(ProcessSpec(path="env", user="vcap"))
    assert set(bytes(output.out).split(b"\n")) == {
        b"PATH=/usr/local/bin:/usr/bin:/bin",
        b"USER=vcap",
        b"HOME=/home/vcap",
        b"",
    }


async def test_a_bare_name_is_the_images_program(start: Start) -> None:
    process, _ = await start(ProcessSpec(path="sleep", args=("1000",)))
    assert await command_line(process) == ["/bin/sleep", "1000"]
    assert os.readlink(f"/proc/{process.pid}/exe") == "/bin/busybox"
    await process.signal(signal.SIGKILL)
    await process.wait()


async def test_a_program_whose_path_looks_like_a_variable(run: Run) -> None:
    await run(sh("cp /bin/busybox /tmp/env; mkdir /tmp/a=b; mv /tmp/env /tmp/a=b/env"))
    status, output = await run(ProcessSpec(path="/tmp/a=b/env", args=("x=1", "/bin/env"), env=(("A", "1"),)))
    assert (status, bytes(output.out).split()[0], bytes(output.out).split()[-1]) == (0, b"A=1", b"x=1")


_FAILED = "exec failed: unable to start container process: "


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            sh("true", user="nobody-here"),
            "unable to find user nobody-here: no matching entries in passwd file",
        ),
        (
            ProcessSpec(path="/no/such"),
            _FAILED + 'exec: "/no/such": stat /no/such: no such file or directory',
        ),
        (ProcessSpec(path="no-such"), _FAILED + 'exec: "no-such": executable file not found in $PATH'),
        (ProcessSpec(path="/etc"), _FAILED + 'exec: "/etc": is a directory'),
        (ProcessSpec(path="/etc/passwd"), _FAILED + 'exec: "/etc/passwd": permission denied'),
        (
            sh("true", dir="relative"),
            "runc exec: exit status 255: exec failed: Cwd must be an absolute path",
        ),
        (
            sh("true", dir="/etc/passwd"),
            _FAILED + 'chdir to cwd ("/etc/passwd") set in config.json failed: not a directory',
        ),
        (
            sh("true", dir="/etc/passwd/below"),
            _FAILED + 'chdir to cwd ("/etc/passwd/below") set in config.json failed: not a directory',
        ),
    ],
)
async def test_start_failures(run: Run, spec: ProcessSpec, text: str) -> None:
    with pytest.raises(ProcessStartError) as caught:
        await run(spec)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("content", "user", "text"),
    [
        ("#!/no/interpreter", "root", "exec /tmp/program: no such file or directory"),
        ("echo no interpreter line", "root", "exec /tmp/program: exec format error"),
        ("#!/bin/sh", "vcap", 'exec: "/tmp/program": permission denied'),
    ],
)
async def test_programs_the_kernel_refuses(run: Run, content: str, user: str, text: str) -> None:
    await run(sh(f"echo '{content}' >/tmp/program; chmod 700 /tmp/program"))
    with pytest.raises(ProcessStartError) as caught:
        await run(ProcessSpec(path="/tmp/program", user=user))
    assert str(caught.value) == _FAILED + text


async def test_a_limit_that_cannot_be_set_is_a_start_failure(run: Run) -> None:
    with pytest.raises(ProcessStartError, match="error setting rlimits"):
        await run(sh("true", user="vcap", nofile=2**40))


async def test_the_io_directory_cannot_be_written_by_the_app(run: Run) -> None:
    status, _ = await run(sh("touch /.cell/io/x 2>/dev/null || rm /.cell/io/*/out 2>/dev/null"))
    assert status == 1


async def test_a_cancelled_start_leaves_no_process(
    engine: DockerEngine, container: EngineContainer, run: Run
) -> None:
    output = Output()
    loop = asyncio.get_running_loop()
    for pause in range(0, 120, 10):
        task = loop.create_task(
            engine.start_process(container, sh("sleep 1000"), output.on_out, output.on_err)
        )
        _, pending = await asyncio.wait([task], timeout=pause / 1000)
        if not pending:
            process = await task
            await process.signal(signal.SIGKILL)
            await process.wait()
            continue
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(20):
        while (await run(sh("pidof sleep")))[0] == 0:
            pass


async def test_processes_of_a_destroyed_container_end_as_killed(
    engine: DockerEngine, container: EngineContainer, start: Start
) -> None:
    process, _ = await start(ProcessSpec(path="/bin/sleep", args=("1000",)))
    await engine.destroy(container.guid)
    assert await process.wait() == 137
    with pytest.raises(ContainerGone):
        await start(sh("true"))
