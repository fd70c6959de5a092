"""Processes that cannot be started: refused with the texts of a container runtime."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from docker import APIClient
from docker.errors import APIError, DockerException
from hypothesis import given
from hypothesis import strategies as st
from requests import Response
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ReadTimeout
from urllib3.exceptions import ProtocolError

from executor.containers.creation import without_sources
from executor.engine.api import BindMount, ContainerSpec, EngineContainer, ProcessSpec
from executor.engine.arguments import (
    ARGUMENT_BYTES_CEILING,
    STRING_BYTES_MOST,
    argument_bytes_most,
    quoted,
    string_bytes,
    too_long,
)
from executor.engine.docker import DockerEngine
from executor.engine.faults import MESSAGE_MOST, refused, translate, unavailable
from executor.engine.images import import_rootfs
from executor.engine.users import ID_MOST, further_groups, resolve_user
from executor.errors import ImageError, ProcessStartError
from executor.reasons import reason_of


@dataclass(frozen=True)
class EngineAnswer:
    """An answer of the engine with an error's status."""

    status: int
    said: str

    def response(self) -> Response:
        made = Response()
        made.status_code = self.status
        return made


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


REFUSED = [
    (
        ProcessSpec(path="/bin/true", env=(("LONG", "x" * (STRING_BYTES_MOST - len("LONG="))),)),
        FAILED + "exec /bin/true: argument list too long",
    ),
    (
        ProcessSpec(path="true", args=("x" * STRING_BYTES_MOST,)),
        FAILED + "exec /bin/true: argument list too long",
    ),
    (
        ProcessSpec(path="/bin/true", args=("x" * 100_000,) * 100),
        FAILED + "exec /bin/true: argument list too long",
    ),
    (
        ProcessSpec(path="/bin/true", env=tuple((f"A{n}", "x" * 100_000) for n in range(100))),
        FAILED + "exec /bin/true: argument list too long",
    ),
    (ProcessSpec(path="/bin/true", args=("a", "b\0c")), FAILED + "argument 2 contains NUL"),
    (ProcessSpec(path="/bin/tr\0ue"), FAILED + "path contains NUL"),
    (ProcessSpec(path="/bin/true", dir="/tmp\0/x"), FAILED + "directory contains NUL"),
    (ProcessSpec(path="/bin/true", user="ro\0ot"), FAILED + "user contains NUL"),
    (
        ProcessSpec(path="/bin/true", env=(("A\0B", "c"),)),
        FAILED + "environment variable A\\x00B contains NUL",
    ),
    (ProcessSpec(path="/bin/true", env=(("A", "b\0c"),)), FAILED + "environment variable A contains NUL"),
    (ProcessSpec(path="/bin/true", args=("\ud800",)), FAILED + "argument 1 contains half a character"),
    *(
        (
            ProcessSpec(path="/bin/true", user=user),
            f"unable to find user {user}: uids and gids must be in range 0-{ID_MOST}",
        )
        for user in ("4294967296", "2147483648", "9" * 5000)
    ),
]


@pytest.mark.docker
async def test_a_command_line_the_kernel_cannot_take(run: Run) -> None:
    """Too much, a NUL, what is no text, or a user number beyond the range is named: no status, no errno."""
    for spec, text in REFUSED:
        with pytest.raises(ProcessStartError) as caught:
            await run(spec)
        assert str(caught.value) == text


@pytest.mark.docker
async def test_a_small_limit_of_open_files_reaches_the_app(run: Run) -> None:
    """The shell that sets a limit of 10 or less has no descriptor left for its own redirections."""
    for user, nofile in (("root", 4), ("vcap", 8), ("vcap", 10), ("root", 11)):
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
    variables, words = quoted(fitting)
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


def refused_connection() -> RequestsConnectionError:
    inner = ProtocolError("Connection aborted.", ConnectionRefusedError(111, "Connection refused"))
    return RequestsConnectionError(inner)


RUNTIME = (
    "failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)
LAYER = "/var/lib/docker/overlay2/" + "ab" * 32


@pytest.mark.unit
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            EngineAnswer(500, f'{{"message":"mkdir {LAYER}/merged/srv/x: not a directory"}}'),
            "mkdir /srv/x: not a directory",
        ),
        (EngineAnswer(500, f"lstat {LAYER}/diff/a: input/output error"), "lstat /a: input/output error"),
        (
            EngineAnswer(500, "open /srv/docker/overlay2/0123abcd/merged/etc/group: no such file"),
            "open /etc/group: no such file",
        ),
        (
            EngineAnswer(400, "error mounting: open /run/containerd/io.containerd/moby/1/rootfs: denied"),
            "error mounting: open the engine's storage: denied",
        ),
        (EngineAnswer(500, '{"message": 7, "code": 1}'), "7"),
        (
            EngineAnswer(
                400,
                f"{RUNTIME}error during container init: error mounting "
                f'"/var/lib/docker/containers/40ed/resolv.conf" to rootfs at "/etc/resolv.conf": '
                f"open {LAYER}/merged/etc/resolv.conf: read-only file system: unknown",
            ),
            "cannot mount /etc/resolv.conf: read-only file system",
        ),
        (
            EngineAnswer(
                400,
                f'{RUNTIME}error during container init: error mounting "/srv/volume" to rootfs at "/bin/sh": '
                "mount /srv/volume:/bin/sh (via /proc/self/fd/6), flags: 0x5000: not a directory: unknown: "
                "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified "
                "host path exists and is the expected type",
            ),
            "cannot mount /bin/sh: not a directory",
        ),
        (
            EngineAnswer(
                400,
                f'{RUNTIME}error during container init: error mounting "/srv/volume" to rootfs at "/proc": '
                f'"{LAYER}/merged/proc" cannot be mounted because it is not of type proc: unknown',
            ),
            'cannot mount /proc: "/proc" cannot be mounted because it is not of type proc',
        ),
        (
            EngineAnswer(400, f"{RUNTIME}unable to setup user: stat /dev/null: no such file: unknown"),
            "unable to setup user: stat /dev/null: no such file",
        ),
        (EngineAnswer(500, "[" * 100_000), "[" * MESSAGE_MOST),
        (EngineAnswer(404, "Could not find the file /srv/x in container g1"), None),
    ],
)
def test_words_of_the_engine_hold_no_place_of_the_host(error: EngineAnswer, text: str | None) -> None:
    """Paths below the engine's storage are those of the container, and JSON is read; the rest stays."""
    expected = f"do it: {error.said if text is None else text}"
    sdk = APIError("500 Server Error for http+docker://localhost", error.response(), error.said)
    assert str(translate(sdk, "do it")) == expected
    assert str(refused(error.status, error.said.encode(), "do it")) == expected


@pytest.mark.unit
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refused_connection(), "connection refused"),
        (
            DockerException("Error while fetching server API version: ('Connection aborted.')"),
            "no connection",
        ),
        (
            ReadTimeout("UnixHTTPConnectionPool(host='localhost', port=None): Read timed out."),
            "no answer in time",
        ),
        (aiohttp.ServerDisconnectedError(), "the connection was closed"),
        (
            aiohttp.ClientPayloadError("Response payload is not completed: <ContentLengthError: 400>"),
            "the answer ended early",
        ),
        (
            ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            "TLS: handshake failed",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "/var/lib/diego-cell/x"),
            "no such file or directory",
        ),
        (ValueError("Expecting value: line 1 column 1 (char 0)"), "the answer cannot be understood"),
    ],
)
def test_reasons_hold_no_word_of_python_and_no_place(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
    assert str(unavailable(error, "ping")) == f"ping: the container engine does not answer: {reason}"


@pytest.mark.unit
def test_mounts_that_fail_are_called_by_their_targets() -> None:
    mounts = [
        BindMount(source="/var/lib/cell/cache/7", target="/tmp/lifecycle"),
        BindMount(source="/var/lib/cell/cache/7/x", target="/x"),
    ]
    told = without_sources('invalid mount: "/var/lib/cell/cache/7/x" and /var/lib/cell/cache/7', mounts)
    assert told == 'invalid mount: "the source of /x" and the source of /tmp/lifecycle'


@pytest.mark.unit
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('{"status":"Importing"}\r\n{"status":"sha256:ab"}\r\n', ""),
        (
            '{"status":"x"}\r\n{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}\r\n',
            "rootfs stack.tar cannot be imported: unexpected EOF",
        ),
    ],
)
def test_a_stack_that_cannot_be_imported_is_called_by_its_name(
    answer: str, text: str, tmp_path: Path
) -> None:
    """No path of the cell and no JSON of the engine in the reason of a failed creation."""

    class Importing(APIClient):
        def __init__(self) -> None:
            """No connection is made."""

        def import_image_from_file(self, *_: object, **__: object) -> str:
            return answer

    if not text:
        return import_rootfs(Importing(), tmp_path / "stack.tar", "repository", "tag")
    with pytest.raises(ImageError) as caught:
        import_rootfs(Importing(), tmp_path / "stack.tar", "repository", "tag")
    assert str(caught.value) == text
    return None
