"""The sftp subsystem packet by packet: requests, statuses and texts."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sshd.sftp import protocol as p
from sshd.sftp.attributes import NONE
from sshd.sftp.requests import Requests
from sshd.sftp.server import serve
from sshd.wire import Reader, string, text, uint32, uint64

pytestmark = pytest.mark.unit

NUMBER = 7
READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
PERMISSIONS = 4
OK = (0, "")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Relative paths are those of the working directory."""
    monkeypatch.chdir(tmp_path)
    os.umask(0o022)
    return tmp_path


class Client:
    """Asks, and takes answers apart."""

    def __init__(self) -> None:
        self._requests = Requests()

    def ask(self, kind: int, body: bytes) -> tuple[int, Reader]:
        packet = self._requests.answer(kind, Reader(uint32(NUMBER) + body))
        reader = Reader(packet)
        assert reader.uint32() == len(packet) - 4
        answer = reader.byte()
        assert reader.uint32() == NUMBER
        return answer, reader

    def status(self, kind: int, body: bytes) -> tuple[int, str]:
        answer, reader = self.ask(kind, body)
        assert answer == p.STATUS
        found = (reader.uint32(), reader.text())
        assert reader.string() == b"", "no language"
        reader.end()
        return found

    def open(self, path: str, flags: int, attributes: bytes = NONE) -> bytes:
        return self._handle(p.OPEN, text(path) + uint32(flags) + attributes)

    def opendir(self, path: str) -> bytes:
        return self._handle(p.OPENDIR, text(path))

    def _handle(self, kind: int, body: bytes) -> bytes:
        answer, reader = self.ask(kind, body)
        assert answer == p.HANDLE
        return reader.string()

    def read(self, handle: bytes, offset: int, size: int) -> bytes:
        answer, reader = self.ask(p.READ, string(handle) + uint64(offset) + uint32(size))
        assert answer == p.DATA
        return reader.string()

    def names(self, kind: int, body: bytes) -> list[tuple[str, str, bytes]]:
        """Name, long name and attributes."""
        answer, reader = self.ask(kind, body)
        assert answer == p.NAME
        found = []
        for _ in range(reader.uint32()):
            name, line, flags = reader.text(), reader.text(), reader.uint32()
            rest = b"".join(uint64(reader.uint64()) if n == 0 else uint32(reader.uint32()) for n in range(6))
            found.append((name, line, rest if flags else b""))
        return found

    def name(self, kind: int, path: str) -> tuple[str, str]:
        """Of an answer with one name and without attributes."""
        answer, reader = self.ask(kind, text(path))
        assert answer == p.NAME
        assert reader.uint32() == 1
        found = (reader.text(), reader.text())
        assert reader.uint32() == 0
        reader.end()
        return found

    def attributes(self, kind: int, body: bytes) -> tuple[int, int, int, int, int, int]:
        """Size, uid, gid, permissions, times of access and change."""
        answer, reader = self.ask(kind, body)
        assert answer == p.ATTRS
        assert reader.uint32() == 15
        found = (reader.uint64(), *(reader.uint32() for _ in range(5)))
        reader.end()
        return found  # type: ignore[return-value]


@pytest.fixture
def client() -> Client:
    return Client()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_the_version_announces() -> None:
    reader = Reader(p.version())
    reader.uint32()
    assert (reader.byte(), reader.uint32()) == (p.VERSION_ANSWER, 3)
    found = [(reader.string(), reader.string()) for _ in range(3)]
    reader.end()
    assert found == [
        (b"hardlink@openssh.com", b"1"),
        (b"posix-rename@openssh.com", b"1"),
        (b"statvfs@openssh.com", b"2"),
    ]


def test_handles_are_counters(client: Client, here: Path) -> None:
    (here / "f").write_text("x")
    assert [client.open("f", READ), client.opendir("."), client.open("f", READ)] == [b"1", b"2", b"3"]
    assert client.status(p.CLOSE, string(b"2")) == OK
    assert client.opendir(".") == b"4"


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        (WRITE | CREATE, None, "new"),
        (WRITE | CREATE, "earlier", "newlier"),
        (WRITE | CREATE | TRUNCATE, "earlier", "new"),
        (WRITE | TRUNCATE, "earlier", "new"),
        (WRITE | APPEND, "earlier", "newlier"),
        (READ | WRITE, "earlier", "newlier"),
        (WRITE | CREATE | EXCLUSIVE, None, "new"),
    ],
)
def test_writing(flags: int, before: str | None, after: str, client: Client, here: Path) -> None:
    if before is not None:
        (here / "f").write_text(before)
    handle = client.open("f", flags)
    assert client.status(p.WRITE, string(handle) + uint64(0) + string(b"new")) == OK
    assert (here / "f").read_text() == after


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        (NONE, 0o644),
        (uint32(PERMISSIONS) + uint32(0o600), 0o600),
        (uint32(PERMISSIONS) + uint32(0o777), 0o755),
    ],
)
def test_permissions_of_a_new_file(attributes: bytes, wanted: int, client: Client, here: Path) -> None:
    client.open("f", WRITE | CREATE, attributes)
    assert mode(here / "f") == wanted


def test_a_new_directory_has_its_own_mode(client: Client, here: Path) -> None:
    assert client.status(p.MKDIR, text("d") + uint32(PERMISSIONS) + uint32(0o700)) == OK
    assert mode(here / "d") == 0o755


def test_reading(client: Client, here: Path) -> None:
    (here / "f").write_bytes(bytes(range(256)) * 200)
    handle = client.open("f", READ)
    assert client.read(handle, 1, 3) == b"\1\2\3"
    assert len(client.read(handle, 0, 1 << 20)) == 32768
    assert client.status(p.READ, string(handle) + uint64(1 << 20) + uint32(1)) == (1, "EOF")
    assert client.status(p.CLOSE, string(handle)) == OK


def test_a_directory_may_be_opened_like_a_file(client: Client) -> None:
    handle = client.open(".", READ)
    code, message = client.status(p.READ, string(handle) + uint64(0) + uint32(1))
    assert (code, message) == (4, "read .: is a directory")


def test_listing(client: Client, here: Path) -> None:
    for number in range(200):
        (here / f"f{number}").touch(0o640)
    (here / "sub").mkdir()
    (here / "link").symlink_to("nowhere")
    handle = client.opendir(".")
    first = client.names(p.READDIR, string(handle))
    rest = client.names(p.READDIR, string(handle))
    assert (len(first), len(rest)) == (128, 74)
    found = {name: line for name, line, _ in first + rest}
    assert found.keys() == {entry.name for entry in here.iterdir()}
    assert found["f7"].startswith("-rw-r-----    1 root     root            0 ")
    assert found["f7"].endswith(" f7")
    assert (found["sub"][0], found["link"][0]) == ("d", "l")
    assert client.status(p.READDIR, string(handle)) == (1, "EOF")


def test_attributes(client: Client, here: Path) -> None:
    (here / "f").write_text("12345")
    os.chown(here / "f", 3, 4)
    os.utime(here / "f", (5, 6))
    (here / "f").chmod(0o640)
    (here / "link").symlink_to("f")
    wanted = (5, 3, 4, stat.S_IFREG | 0o640, 5, 6)
    assert client.attributes(p.STAT, text("f")) == wanted
    assert client.attributes(p.STAT, text("link")) == wanted
    assert client.attributes(p.LSTAT, text("f")) == wanted
    assert stat.S_ISLNK(client.attributes(p.LSTAT, text("link"))[3])
    assert client.attributes(p.FSTAT, string(client.open("f", READ))) == wanted


SET = uint32(15) + uint64(2) + uint32(5) + uint32(6) + uint32(0o604) + uint32(7) + uint32(8)


@pytest.mark.parametrize("by_handle", [False, True])
def test_setting_attributes(by_handle: bool, client: Client, here: Path) -> None:
    (here / "f").write_text("12345")
    if by_handle:
        done = client.status(p.FSETSTAT, string(client.open("f", READ | WRITE)) + SET)
    else:
        done = client.status(p.SETSTAT, text("f") + SET)
    assert done == OK
    assert client.attributes(p.STAT, text("f")) == (2, 5, 6, stat.S_IFREG | 0o604, 7, 8)


@pytest.mark.parametrize("kind", [p.REMOVE, p.RMDIR])
@pytest.mark.parametrize("what", ["file", "directory", "link"])
def test_either_removal_takes_files_and_empty_directories(
    kind: int, what: str, client: Client, here: Path
) -> None:
    path = here / "x"
    make: dict[str, Callable[[], None]] = {
        "file": path.touch,
        "directory": path.mkdir,
        "link": lambda: path.symlink_to("."),
    }
    make[what]()
    assert client.status(kind, text("x")) == OK
    assert not path.is_symlink()
    assert not path.exists()


@pytest.mark.parametrize("extended", [False, True])
def test_renaming_replaces(extended: bool, client: Client, here: Path) -> None:
    (here / "a").write_text("a")
    (here / "b").write_text("b")
    body = text("a") + text("b")
    if extended:
        assert client.status(p.EXTENDED, string(b"posix-rename@openssh.com") + body) == OK
    else:
        assert client.status(p.RENAME, body) == OK
    assert (here / "b").read_text() == "a"
    assert not (here / "a").exists()


def test_links(client: Client, here: Path) -> None:
    (here / "f").write_text("x")
    assert client.status(p.SYMLINK, text("f") + text("soft")) == OK
    assert os.readlink(here / "soft") == "f"
    assert client.name(p.READLINK, "soft") == ("f", "f")
    assert client.status(p.EXTENDED, string(b"hardlink@openssh.com") + text("f") + text("hard")) == OK
    assert (here / "hard").samefile(here / "f")


@pytest.mark.parametrize(
    ("path", "real"),
    [(".", ""), ("", ""), ("a/../b/./c//d", "/b/c/d"), ("no/such", "/no/such")],
)
def test_real_paths_do_not_touch_the_file_system(path: str, real: str, client: Client, here: Path) -> None:
    assert client.name(p.REALPATH, path) == (f"{here}{real}", f"{here}{real}")


@pytest.mark.parametrize("path", ["/", "//", "/..", "//etc/../.."])
def test_the_root(path: str, client: Client) -> None:
    assert client.name(p.REALPATH, path) == ("/", "/")


def test_the_file_systems_figures(client: Client) -> None:
    answer, reader = client.ask(p.EXTENDED, string(b"statvfs@openssh.com") + text("."))
    assert answer == p.EXTENDED_REPLY
    found = [reader.uint64() for _ in range(11)]
    reader.end()
    assert (found[0], found[2], found[10]) == (
        os.statvfs(".").f_bsize,
        os.statvfs(".").f_blocks,
        os.statvfs(".").f_namemax,
    )


OPEN_NEW = text("new") + uint32(WRITE | CREATE | EXCLUSIVE) + NONE


@pytest.mark.parametrize(
    ("kind", "body", "code", "message"),
    [
        (p.OPEN, text("x") + uint32(READ) + NONE, 2, "open x: no such file or directory"),
        (p.OPEN, text("/no/x") + uint32(WRITE | CREATE) + NONE, 2, "open /no/x: no such file or directory"),
        (p.OPEN, OPEN_NEW, 4, "open new: file exists"),
        (p.OPEN, text("new") + uint32(CREATE) + NONE, 4, "invalid argument"),
        (p.OPEN, text("new") + uint32(0) + NONE, 4, "invalid argument"),
        (p.OPEN, text("new/x") + uint32(READ) + NONE, 4, "open new/x: not a directory"),
        (p.OPENDIR, text("x"), 2, "open x: no such file or directory"),
        (p.OPENDIR, text("new"), 4, "open new: not a directory"),
        (p.STAT, text("x"), 2, "stat x: no such file or directory"),
        (p.LSTAT, text("x"), 2, "lstat x: no such file or directory"),
        (p.SETSTAT, text("x") + uint32(4) + uint32(0o600), 2, "chmod x: no such file or directory"),
        (p.MKDIR, text("full") + NONE, 4, "mkdir full: file exists"),
        (p.MKDIR, text("x/y") + NONE, 2, "mkdir x/y: no such file or directory"),
        (p.REMOVE, text("x"), 2, "remove x: no such file or directory"),
        (p.REMOVE, text("full"), 4, "remove full: directory not empty"),
        (p.RMDIR, text("full"), 4, "remove full: directory not empty"),
        (p.RENAME, text("x") + text("y"), 2, "rename x y: no such file or directory"),
        (p.READLINK, text("x"), 2, "readlink x: no such file or directory"),
        (p.READLINK, text("new"), 4, "readlink new: invalid argument"),
        (p.SYMLINK, text("x") + text("new"), 4, "symlink x new: file exists"),
        (p.CLOSE, string(b"9"), 4, "bad file descriptor"),
        (p.READ, string(b"9") + uint64(0) + uint32(1), 4, "bad file descriptor"),
        (p.WRITE, string(b"9") + uint64(0) + string(b"x"), 4, "bad file descriptor"),
        (p.FSTAT, string(b"9"), 4, "bad file descriptor"),
        (p.FSETSTAT, string(b"9") + NONE, 4, "bad file descriptor"),
        (p.READDIR, string(b"9"), 4, "bad file descriptor"),
        (p.EXTENDED, string(b"fsync@openssh.com") + string(b"1"), 8, "operation unsupported"),
        (p.EXTENDED, string(b"hardlink@openssh.com") + text("x") + text("y"), 2, "link x y: "),
        (99, b"", 8, "operation unsupported"),
        (p.STATUS, b"", 8, "operation unsupported"),
    ],
)
def test_what_fails(kind: int, body: bytes, code: int, message: str, client: Client, here: Path) -> None:
    (here / "new").touch()
    (here / "full").mkdir()
    (here / "full" / "file").touch()
    found = client.status(kind, body)
    whole = f"{message}no such file or directory" if message.endswith(": ") else message
    assert found == (code, whole)


def test_what_is_not_allowed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "mkdir", refuse)
    assert client.status(p.OPEN, text("x") + uint32(READ) + NONE) == (3, "open x: permission denied")
    assert client.status(p.MKDIR, text("x") + NONE) == (3, "mkdir x: permission denied")


@pytest.mark.parametrize(
    "data",
    [
        uint32(0),
        uint32((256 << 10) + 1) + b"x",
        uint32(0xFFFFFFFF),
        p.packet(p.STAT, uint32(1)),
        p.packet(p.READ, uint32(1) + string(b"1")),
        p.packet(p.WRITE, uint32(1) + string(b"1") + uint64(0) + b"\0\0\0\2x"),
        p.packet(p.FSETSTAT, uint32(1) + string(b"1")),
        p.packet(p.INIT, uint32(3)) + b"\0\0",
    ],
)
def test_a_packet_that_makes_no_sense_ends_it(data: bytes) -> None:
    assert _served(data)[0] != 0


def test_a_packet_of_an_unknown_type_ends_nothing() -> None:
    ended, answers = _served(
        p.packet(p.INIT, uint32(3)) + p.packet(99, uint32(1)) + p.packet(p.STAT, uint32(2) + text("x"))
    )
    assert ended == 0
    assert answers == p.version() + p.status(1, 8, "operation unsupported") + p.status(
        2, 2, "stat x: no such file or directory"
    )


def _served(data: bytes) -> tuple[int, bytes]:
    """Exit status and answers of a conversation that ends with this."""
    (from_client, to_server), (from_server, to_client) = os.pipe(), os.pipe()
    ended: list[int] = []

    def run() -> None:
        ended.append(serve(from_client, to_client))
        os.close(to_client)

    server = threading.Thread(target=run)
    server.start()
    os.write(to_server, data)
    os.close(to_server)
    answers = b""
    while piece := os.read(from_server, 65536):
        answers += piece
    server.join()
    os.close(from_client)
    os.close(from_server)
    return ended[0], answers
