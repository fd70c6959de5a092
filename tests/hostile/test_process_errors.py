"""What cannot be started is refused in words about the process: a container runtime's where it has some."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.engine.api import ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.docker import DockerEngine
from executor.engine.environment import (
    ARGUMENT_BYTES_CEILING,
    STRING_BYTES_MOST,
    argument_bytes_most,
    handed_over,
    string_bytes,
    too_long,
)
from executor.engine.users import ID_MOST, further_groups, resolve_user
from executor.errors import ProcessStartError

FAILED = "exec failed: unable to start container process: "
MIB = 1 << 20

Run = Callable[[ProcessSpec], Awaitable[tuple[int, bytes]]]


@pytest.fixture
async def container(engine: DockerEngine, rootfs_image: str) -> EngineContainer:
    return await engine.create(ContainerSpec(guid="g1", root_fs=rootfs_image))


@pytest.fixture
def run(engine: DockerEngine, container: EngineContainer) -> Run:
    async def ran(spec: ProcessSpec) -> tuple[int, bytes]:
        output = bytearray()
        process = await engine.start_process(container, spec, output.extend, output.extend)
        async with asyncio.timeout(20):
            return await process.wait(), bytes(output)

    return ran


@pytest.mark.docker
async def test_the_longest_variable_and_argument_of_the_kernel_arrive(run: Run) -> None:
    """A variable of 131,071 bytes with its name, the kernel's most, passes; one byte more is refused."""
    value = "x" * (STRING_BYTES_MOST - 1 - len("LONG="))
    spec = ProcessSpec(
        path="/bin/sh", args=("-c", 'printf %s "$LONG$0" | wc -c', "x" * (STRING_BYTES_MOST - 1))
    )
    status, output = await run(ProcessSpec(path=spec.path, args=spec.args, env=(("LONG", value),)))
    assert (status, int(output)) == (0, len(value) + STRING_BYTES_MOST - 1)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            ProcessSpec(path="/bin/true", env=(("LONG", "x" * (STRING_BYTES_MOST - len("LONG="))),)),
            "exec /bin/true: argument list too long",
        ),
        (ProcessSpec(path="true", args=("x" * STRING_BYTES_MOST,)), "exec /bin/true: argument list too long"),
        (
            ProcessSpec(path="/bin/true", args=("x" * 100_000,) * 100),
            "exec /bin/true: argument list too long",
        ),
        (
            ProcessSpec(path="/bin/true", env=tuple((f"A{n}", "x" * 100_000) for n in range(100))),
            "exec /bin/true: argument list too long",
        ),
        (ProcessSpec(path="/bin/true", args=("a", "b\0c")), "argument 2 contains NUL"),
        (ProcessSpec(path="/bin/tr\0ue"), "path contains NUL"),
        (ProcessSpec(path="/bin/true", dir="/tmp\0/x"), "directory contains NUL"),
        (ProcessSpec(path="/bin/true", user="ro\0ot"), "user contains NUL"),
        (ProcessSpec(path="/bin/true", env=(("A\0B", "c"),)), "environment variable A\\x00B contains NUL"),
        (ProcessSpec(path="/bin/true", env=(("A", "b\0c"),)), "environment variable A contains NUL"),
        (ProcessSpec(path="/bin/true", args=("\ud800",)), "argument 1 contains half a character"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_command_line_the_kernel_cannot_take(run: Run, spec: ProcessSpec, text: str) -> None:
    """Too much, a NUL, or what is no text is named; no status of a parent, no errno."""
    with pytest.raises(ProcessStartError) as caught:
        await run(spec)
    assert str(caught.value) == FAILED + text


@pytest.mark.docker
@pytest.mark.parametrize("user", ["4294967296", "2147483648", "9" * 5000])
async def test_a_user_number_beyond_the_range(run: Run, user: str) -> None:
    with pytest.raises(ProcessStartError) as caught:
        await run(ProcessSpec(path="/bin/true", user=user))
    assert str(caught.value) == f"unable to find user {user}: uids and gids must be in range 0-{ID_MOST}"


@pytest.mark.docker
@pytest.mark.parametrize(("user", "nofile"), [("root", 4), ("vcap", 8), ("vcap", 10), ("root", 11)])
async def test_a_small_limit_of_open_files_reaches_the_app(run: Run, user: str, nofile: int) -> None:
    """The shell that sets a limit of 10 or less has no descriptor left for its own redirections."""
    spec = ProcessSpec(path="/bin/sh", args=("-c", "ulimit -Sn; ulimit -Hn"), user=user, nofile=nofile)
    assert await run(spec) == (0, f"{nofile}\n{nofile}\n".encode())


@pytest.mark.docker
async def test_a_passwd_of_many_mebibytes_and_odd_numbers_is_read_in_part(run: Run) -> None:
    """An image's passwd of 8 MiB, with uids of 5,000 digits, costs a start no more than the first 256 KiB."""
    entry = "u:x:" + "9" * 5000 + ":0::/:"
    script = f"yes '{entry}' | head -c 8388608 >/tmp/p; cat /tmp/p >>/etc/passwd; wc -c </etc/passwd"
    status, output = await run(ProcessSpec(path="/bin/sh", args=("-c", script)))
    assert (status, int(output) > 8 * MIB) == (0, True)
    assert await run(ProcessSpec(path="/bin/id", args=("-u",), user="vcap")) == (0, b"2000\n")


@pytest.mark.unit
@pytest.mark.parametrize(
    "digits", ["9" * 5000, "\u0663", "\u00b2", "-1", "1_0", "+1", " 1", "2147483648", ""]
)
def test_entries_whose_numbers_are_none_are_no_entries(digits: str) -> None:
    """5,000 digits in a passwd, which ``int`` refuses, and digits of other scripts, which it takes."""
    passwd = f"bad:x:{digits}:0::/:\nworse:x:0:{digits}::/:\ngood:x:7:8::/home:\n"
    group = f"bad:x:{digits}:good\nstaff:x:50:good\n"
    good = resolve_user("good", passwd, group)
    assert (good.uid, good.gid, good.home) == (7, 8, "/home")
    assert further_groups("good", passwd, group) == (50,)
    for name in ("bad", "worse"):
        with pytest.raises(ProcessStartError, match=f"unable to find user {name}: no matching entries"):
            resolve_user(name, passwd, group)
    with pytest.raises(ProcessStartError, match="unable to find group bad: no matching entries"):
        resolve_user("good:bad", passwd, group)


@pytest.mark.unit
@given(st.text())
def test_any_user_is_resolved_or_refused_in_words(wanted: str) -> None:
    passwd, group = "vcap:x:2000:2000::/home/vcap:\n", "vcap:x:2000:\n"
    try:
        user = resolve_user(wanted, passwd, group)
    except ProcessStartError:
        with pytest.raises(ProcessStartError, match=r"^unable to find (user|group) "):
            resolve_user(wanted, passwd, group)
    else:
        assert 0 <= user.uid <= ID_MOST
        assert 0 <= user.gid <= ID_MOST


@pytest.mark.unit
@given(
    st.lists(
        st.tuples(st.text(), st.sampled_from(["", "x", "é" * 50_000, "x" * 131_060, "\U0001f600" * 32_700]))
    )
)
def test_a_variable_that_the_kernel_takes_has_room_under_its_harmless_name(
    env: list[tuple[str, str]],
) -> None:
    fitting = tuple(pair for pair in env if string_bytes("=".join(pair)) <= STRING_BYTES_MOST)
    variables, words = handed_over(fitting)
    assert all(string_bytes(each) <= STRING_BYTES_MOST for each in variables)
    values = dict(each.split("=", 1) for each in variables)
    expanded = ["".join(values[name] for name in word.strip('"').split("$")[1:]) for word in words.split()]
    assert expanded == ["=".join(pair) for pair in fitting]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("stack", "most"),
    [(8 * MIB, 2 * MIB), (-1, ARGUMENT_BYTES_CEILING), (1 << 40, ARGUMENT_BYTES_CEILING), (4096, 128 * 1024)],
)
def test_arguments_may_take_a_quarter_of_the_stack(stack: int, most: int) -> None:
    assert argument_bytes_most(stack) == most


@pytest.mark.unit
@pytest.mark.parametrize(
    ("strings", "most", "refused"),
    [
        (["x" * 131_071], 1 << 30, False),
        (["x" * 131_072], 1 << 30, True),
        (["é" * 65_536], 1 << 30, True),
        (["x" * 7] * 10, 160, False),
        (["x" * 7] * 10, 159, True),
        ([], 0, False),
    ],
)
def test_what_the_kernel_refuses(strings: list[str], most: int, refused: bool) -> None:
    assert too_long(strings, most) is refused
