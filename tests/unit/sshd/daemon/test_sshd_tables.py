"""Decisions of the daemon, without a daemon.

Environments, words, patterns, hidden keys, addresses, modes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.goerrors import AddressError, split_host_port
from sshd.daemon.children import ExitState
from sshd.daemon.command import exit_message
from sshd.daemon.environment import command_environment
from sshd.daemon.terminal import PtyRequest, parse_pty_request
from sshd.hiding import without_keys, without_variables
from sshd.scp.globs import expand
from sshd.scp.words import UsageError, parse_command, split_words
from sshd.sftp.attributes import Owners, long_name
from sshd.ssh.algorithms import Algorithms, algorithms, host_key_signatures
from sshd.wire import Malformed, Reader, boolean, string, text, uint32

pytestmark = pytest.mark.unit

FIXED = {"PATH": "/bin:/usr/bin", "LANG": "en_US.UTF8", "HOME": "", "USER": ""}


@pytest.mark.parametrize(
    ("daemon", "inherit", "client", "changes"),
    [
        ({}, False, {}, {}),
        ({"A": "1", "HOME": "/h", "USER": "u"}, False, {}, {"HOME": "/h", "USER": "u"}),
        ({"A": "1", "PATH": "/x", "pAtH": "/y", "LANG": "C"}, True, {}, {"A": "1", "LANG": "C"}),
        ({"A": "1"}, True, {"A": "2", "PATH": "/mine"}, {"A": "2", "PATH": "/mine"}),
        ({"HOME": "/h"}, True, {"HOME": "/theirs", "USER": "they"}, {"HOME": "/h"}),
        ({}, False, {"LANG": "C", "TERM": "vt100"}, {"LANG": "C", "TERM": "vt100"}),
    ],
)
def test_the_environment_of_commands(
    daemon: dict[str, str], inherit: bool, client: dict[str, str], changes: dict[str, str]
) -> None:
    assert command_environment(daemon, inherit, client) == FIXED | changes


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scp -t .", ["scp", "-t", "."]),
        ("a 'b c' \"d 'e\" f\\ g", ["a", "b c", "d 'e", "f g"]),
        ("a#b # c", ["a#b"]),
        ("''", [""]),
        ('"a\\"b\\c"', ['a"b\\c']),
        ("a && b;c", ["a", "&&", "b;c"]),
        ("a#\n b # x\nc", ["a#", "b", "c"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize("line", ["'x", '"x', "x\\", "scp -t", "scp", "scp -tf x", "scp -x -t y", "cp -t x"])
def test_commands_that_make_no_sense(line: str) -> None:
    with pytest.raises(UsageError):
        parse_command(line)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", [".h", "a", "ab", "d"]),
        ("a?", ["ab"]),
        ("[^a]*", [".h", "d"]),
        ("[a-c]", ["a"]),
        ("d/*", ["d/x]"]),
        ("*/x\\]", ["d/x]"]),
        ("[", ["["]),
        ("a[", ["a["]),
        ("none*", ["none*"]),
        ("plain", ["plain"]),
    ],
)
def test_patterns(pattern: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "ab", ".h"):
        Path(name).touch()
    Path("d").mkdir()
    Path("d/x]").touch()
    assert expand(pattern) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"sshd\0-hostKey=SECRET\0-x=1\0", b"sshd\0-x=1\0"),
        (b"sshd\0--authorizedKey\0SECRET\0rest\0", b"sshd\0rest\0"),
        (b"sshd\0-hostKey\0", b"sshd\0"),
        (b"sshd\0-hostKeys=1\0hostKey=2\0", b"sshd\0-hostKeys=1\0hostKey=2\0"),
    ],
)
def test_a_command_line_without_keys(before: bytes, after: bytes) -> None:
    shown = without_keys(before)
    assert len(shown) == len(before)
    assert shown.rstrip(b"\0") == after.rstrip(b"\0")


def test_an_environment_without_keys() -> None:
    before = b"A=1\0SSHD_HOSTKEY=x\0:SSHD_AUTHKEY=y\0XSSHD_HOSTKEY=z\0"
    after = without_variables(before)
    assert len(after) == len(before)
    assert [entry for entry in after.split(b"\0") if entry] == [b"A=1", b"XSSHD_HOSTKEY=z"]


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:2222", ("127.0.0.1", 2222)), (":22", ("", 22)), ("[::1]:22", ("::1", 22)), ("h:", ("h", 0))],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_host_port(address) == parts


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1:22", "h:x", "h:70000", "[::1:22"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(AddressError):
        split_host_port(address)


@pytest.mark.parametrize(
    ("exit_state", "message"),
    [
        (ExitState(7), ("exit-status", uint32(7))),
        (ExitState(None, 15), ("exit-signal", string(b"TERM") + boolean(False) + string(b"") * 2)),
        (ExitState(None, 11, True), ("exit-signal", string(b"SEGV") + boolean(True) + string(b"") * 2)),
        (ExitState(None, 24), ("exit-signal", string(b"") + boolean(False) + string(b"") * 2)),
    ],
)
def test_exit_messages(exit_state: ExitState, message: tuple[str, bytes]) -> None:
    assert exit_message(exit_state) == message


def test_terminal_modes_end_where_they_should() -> None:
    modes = b"\x01" + uint32(3) + b"\x63" + uint32(1) + b"\0" + b"\x35" + uint32(0)
    payload = text("xterm") + uint32(80) + uint32(24) + uint32(0) * 2 + string(modes)
    assert parse_pty_request(payload) == PtyRequest("xterm", 80, 24, ((1, 3), (0x63, 1)))


def test_terminal_modes_of_the_same_kind_are_kept_once() -> None:
    """However long the list: the last counts, and in its place, as one may undo another."""
    modes = (b"\x5a" + uint32(1) + b"\x5b" + uint32(1)) * 10_000 + b"\x5a" + uint32(2) + b"\x5b\0"
    payload = text("xterm") + uint32(80) + uint32(24) + uint32(0) * 2 + string(modes)
    assert parse_pty_request(payload).modes == ((0x5B, 1), (0x5A, 2))


def test_host_key_signatures() -> None:
    assert host_key_signatures(b"ssh-rsa", Algorithms()) == (b"rsa-sha2-256", b"rsa-sha2-512", b"ssh-rsa")
    only = algorithms(host_key_algorithms="ssh-rsa,bogus,rsa-sha2-512")
    assert host_key_signatures(b"ssh-rsa", only) == (b"ssh-rsa", b"rsa-sha2-512")
    assert host_key_signatures(b"ssh-ed25519", only) == ()


def test_a_line_of_ls(tmp_path: Path) -> None:
    file = tmp_path / "f105"
    file.touch(0o644)
    os.utime(file, (0, 0))
    line = long_name("f105", file.stat(), Owners("/nonexistent", "/nonexistent"), now=10**9)
    owner, group = f"{os.getuid():<8}", f"{os.getgid():<8}"
    assert line == f"-rw-r--r--    1 {owner} {group}        0 Jan  1  1970 f105"


@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(max_size=3))
def test_strings_are_read_as_written(values: list[bytes], rest: bytes) -> None:
    reader = Reader(b"".join(map(string, values)) + rest)
    assert [reader.string() for _ in values] == values
    assert reader.rest() == rest
    with pytest.raises(Malformed):
        reader.byte()
