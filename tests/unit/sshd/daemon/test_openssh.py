"""The daemon with a stock OpenSSH client."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(list(map(str, command)), capture_output=True, timeout=60, **options)


@contextmanager
def echo_server(host: str = "127.0.0.1") -> Iterator[int]:
    """Sends everything back when its client has finished sending: only half-close makes that work."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def answer() -> None:
        while True:
            try:
                end, _ = server.accept()
            except OSError:
                return
            with end:
                received = b""
                while data := end.recv(65536):
                    received += data
                end.sendall(received)

    with socket.create_server((host, 0), family=family) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def send_all(end: socket.socket, data: bytes) -> None:
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)


def round_trip(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as end:
        sender = threading.Thread(target=send_all, args=(end, data))
        sender.start()
        received = b""
        while piece := end.recv(65536):
            received += piece
        sender.join()
        return received


def until_refused(port: int, patience_s: float = 10.0) -> None:
    """Return once connections are refused; a listener that is being closed may reset some before."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue
    raise AssertionError(f"port {port} was still open after {patience_s:g} s")


@contextmanager
def staying(ssh: Any, daemon: Any, control: Path, *extra: str) -> Iterator[list[str]]:
    """A client that stays connected without a command; gives the options to talk to it."""
    options = [*ssh.options, "-p", str(daemon.port), "-S", str(control)]
    run("ssh", *options, "-M", "-f", "-N", *extra, "vcap@127.0.0.1", check=True)
    try:
        yield options
    finally:
        run("ssh", *options, "-O", "exit", "vcap@127.0.0.1")


def test_a_command_and_its_status(ssh: Any, daemon: Any) -> None:
    done = ssh(daemon, command="echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_a_signal_is_255_for_stock_clients(ssh: Any, daemon: Any) -> None:
    assert ssh(daemon, command="kill -KILL $$").returncode == 255


def test_megabytes_through_a_command(ssh: Any, daemon: Any) -> None:
    data = os.urandom(5_000_000)
    done = run("ssh", *ssh.options, "-p", daemon.port, "vcap@127.0.0.1", "cat", input=data)
    assert done.stdout == data


def test_an_interactive_terminal(ssh: Any, daemon: Any) -> None:
    done = run(
        *("ssh", *ssh.options, "-tt", "-p", daemon.port, "vcap@127.0.0.1"),
        input=b"tty\nstty -echo\necho $((6*7))\nexit 5\n",
    )
    assert done.returncode == 5
    assert b"/dev/pts/" in done.stdout
    assert b"42\r\n" in done.stdout


def test_all_output_of_a_terminal_comes_before_its_end(ssh: Any, daemon: Any) -> None:
    done = run(
        *("ssh", *ssh.options, "-tt", "-p", daemon.port, "vcap@127.0.0.1", "seq 1 20000; exit 3"),
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 3
    assert done.stdout.split() == [b"%d" % number for number in range(1, 20001)]


@pytest.mark.parametrize("protocol", ["-O", "-s"])
def test_scp_of_a_tree_there_and_back(protocol: str, ssh: Any, daemon: Any, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub dir").mkdir(parents=True)
    (tree / "big").write_bytes(os.urandom(3_000_000))
    (tree / "sub dir" / "run").write_text("x")
    (tree / "sub dir" / "run").chmod(0o750)
    (tree / "empty").touch()
    os.utime(tree / "empty", (1_200_000_000, 1_200_000_000))
    scp = ["scp", *ssh.options, protocol, "-q", "-r", "-p", "-P", str(daemon.port)]
    where = f"vcap@127.0.0.1:{daemon.home}/there{protocol}"
    there = run(*scp, tree, where)
    assert (there.returncode, there.stderr) == (0, b"")
    back = run(*scp, where, tmp_path / "back")
    assert (back.returncode, back.stderr) == (0, b"")
    assert run("diff", "-r", tree, tmp_path / "back").stdout == b""
    assert (tmp_path / "back" / "sub dir" / "run").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "back" / "empty").stat().st_mtime == 1_200_000_000


def test_scp_of_what_is_not_there(ssh: Any, daemon: Any, tmp_path: Path) -> None:
    done = run("scp", *ssh.options, "-O", "-P", daemon.port, "vcap@127.0.0.1:/no/such", tmp_path)
    assert done.returncode == 1
    assert b"stat /no/such: no such file or directory" in done.stderr


def test_sftp_commands(ssh: Any, daemons: Any, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(os.urandom(1_000_000))
    batch = f"""\
        pwd
        mkdir d
        put {tmp_path}/local d/remote
        rename d/remote d/renamed
        chmod 600 d/renamed
        ln d/renamed d/hard
        symlink renamed d/soft
        ls -l d
        get d/soft {tmp_path}/again
        df .
        rm d/*
        rmdir d
        ls -a
        -rm missing
        """
    with daemons.run(tmp_path) as daemon:
        done = run(
            *("sftp", *ssh.options, "-b", "-", "-P", daemon.port, "vcap@127.0.0.1"), input=batch.encode()
        )
    output = done.stdout.decode()
    assert (done.returncode, output.count("Couldn't")) == (0, 0), done.stderr.decode() + output
    assert f"Remote working directory: {tmp_path}" in output
    assert "-rw-------    2 root     root      1000000 " in output
    assert "renamed" in output
    assert (tmp_path / "again").read_bytes() == (tmp_path / "local").read_bytes()
    assert not (tmp_path / "d").exists()


def test_rsync(ssh: Any, daemon: Any, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for number in range(50):
        (tmp_path / "from" / f"file{number}").write_bytes(os.urandom(number * 100))
    shell = " ".join(["ssh", *ssh.options, "-p", str(daemon.port)])
    done = run("rsync", "-a", "-e", shell, f"{tmp_path}/from/", f"vcap@127.0.0.1:{tmp_path}/to/")
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("diff", "-r", tmp_path / "from", tmp_path / "to").stdout == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_local_forward(host: str, ssh: Any, daemon: Any, tmp_path: Path, port: int) -> None:
    data = os.urandom(3_000_000)
    with echo_server("::1" if host == "::1" else "127.0.0.1") as target:
        shown = f"[{host}]" if ":" in host else host
        with staying(ssh, daemon, tmp_path / "c", "-L", f"127.0.0.1:{port}:{shown}:{target}"):
            assert round_trip(port, data) == data
            assert round_trip(port, b"again") == b"again"


def test_a_remote_forward_and_its_end(ssh: Any, daemon: Any, tmp_path: Path, port: int) -> None:
    data = os.urandom(3_000_000)
    with echo_server() as target:
        forward = f"127.0.0.1:{port}:127.0.0.1:{target}"
        with staying(ssh, daemon, tmp_path / "c", "-o", "ExitOnForwardFailure=yes", "-R", forward) as options:
            assert round_trip(port, data) == data
            cancelled = run("ssh", *options, "-O", "cancel", "-R", forward, "vcap@127.0.0.1")
            assert cancelled.returncode == 0, cancelled.stderr
            until_refused(port)


def test_a_remote_forward_of_any_port_on_all_addresses(ssh: Any, daemon: Any, tmp_path: Path) -> None:
    with echo_server() as target, staying(ssh, daemon, tmp_path / "c") as options:
        given = run(
            *("ssh", *options, "-O", "forward", "-R", f"*:0:127.0.0.1:{target}", "vcap@127.0.0.1"), check=True
        )
        port = int(given.stdout)
        assert round_trip(port, b"hello") == b"hello"


def test_a_refused_connection_says_why(ssh: Any, daemon: Any, port: int) -> None:
    done = run("ssh", *ssh.options, "-p", daemon.port, "-W", f"127.0.0.1:{port}", "vcap@127.0.0.1")
    assert done.returncode == 255
    assert f"dial tcp 127.0.0.1:{port}: connect: connection refused".encode() in done.stderr or (
        b"stdio forwarding failed" in done.stderr
    )


def test_rekeying_in_the_middle_of_a_transfer(ssh: Any, daemon: Any) -> None:
    data = os.urandom(8_000_000)
    done = run(
        *("ssh", *ssh.options, "-o", "RekeyLimit=1M", "-p", daemon.port, "vcap@127.0.0.1", "cat"), input=data
    )
    assert done.stdout == data


def test_a_tunnel_whose_far_end_closes(ssh: Any, daemon: Any) -> None:
    """Both directions have ended: without a message the client would wait for ever."""
    target = f"127.0.0.1:{daemon.port}"
    done = run("ssh", *ssh.options, "-p", daemon.port, "-W", target, "vcap@127.0.0.1", input=b"")
    assert done.stdout.startswith(b"SSH-2.0-diego-sshd")
