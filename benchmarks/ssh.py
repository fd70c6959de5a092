"""SSH into an instance: ``diego-sshd`` against OpenSSH's sshd, with the same stock client.

Both daemons run on one machine in one run, in turns, each on its own loopback port, with the same type of
host key and the same user key. Connect to prompt is the time from the start of ``ssh -tt`` to the first bytes
of the login shell. The copy sends a file of random bytes there and back by ``scp -O`` (the protocol of ``cf
ssh``, built into ``diego-sshd``) and by sftp (the protocol of today's ``scp``). Resident memory is measured
for a daemon before its first connection, and for the process that ``diego-sshd`` starts for the first one.
``diego-sshd`` is the bundle's.

    .venv/bin/python -m benchmarks.ssh
    .venv/bin/python -m benchmarks.ssh --megabytes 200 --rounds 5 --connects 20
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pty
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, arguments_of, hand_on
from cell.development.freeport import free_port

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = 20.0


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def rss_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(frozen=True)
class Daemon:
    """A listening daemon, and the options of a stock client for it."""

    pid: int
    port: int
    identity: Path

    @property
    def options(self) -> list[str]:
        stock = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        return [*stock, "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-i", str(self.identity)]

    def rss_megabytes(self) -> float:
        return rss_megabytes(self.pid)

    def serving_megabytes(self) -> float:
        """Resident memory of its children while a client is connected."""
        command = ["ssh", *self.options, "-p", str(self.port), f"{getpass.getuser()}@127.0.0.1", "echo; cat"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            client.stdout.readline()
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return sum(rss_megabytes(int(child)) for child in children)

    def connect(self) -> float:
        """Seconds from the client's start to the first output of the login shell."""
        ours, theirs = pty.openpty()
        began = time.monotonic()
        client = subprocess.Popen(
            ["ssh", *self.options, "-tt", "-p", str(self.port), f"{getpass.getuser()}@127.0.0.1"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        try:
            assert client.stdout is not None
            assert client.stderr is not None
            if not client.stdout.read(1):
                raise SystemExit(f"no prompt: {client.stderr.read().decode()}")
            return time.monotonic() - began
        finally:
            client.kill()
            client.communicate()
            os.close(ours)

    def copy(self, protocol: str, source: Path, target: Path) -> float:
        """Seconds to copy a file there and back."""
        there = f"{getpass.getuser()}@127.0.0.1"
        scp = ["scp", "-q", *self.options, protocol, "-P", str(self.port)]
        began = time.monotonic()
        run(*scp, source, f"{there}:{target}")
        run(*scp, f"{there}:{target}", f"{target}.back")
        seconds = time.monotonic() - began
        if source.stat().st_size != Path(f"{target}.back").stat().st_size:
            raise SystemExit("the copy differs from the file")
        return seconds


@contextlib.contextmanager
def listening(command: list[str], port: int, identity: Path, env: dict[str, str]) -> Iterator[Daemon]:
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + READY_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{command[0]} does not listen") from None
        yield Daemon(process.pid, port, identity)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def both(folder: Path) -> Iterator[tuple[Daemon, Daemon]]:
    """OpenSSH's daemon and ours."""
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", folder / name)
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists():
        raise SystemExit("no sshd to compare with: install openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd confines its unprivileged process to it
    ports = free_port(), free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{ports[0]}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPrintMotd no\nPrintLastLog no\n"
        "Subsystem sftp internal-sftp\nLogLevel QUIET\n"
    )
    run(sys.executable, "-m", "lifecycle.bundle.build", "--tree-only", folder / "lifecycle")
    ours = [
        str(folder / "lifecycle/diego-sshd"),
        f"-address=127.0.0.1:{ports[1]}",
        f"-hostKey={(folder / 'host').read_text()}",
        f"-authorizedKey={(folder / 'user.pub').read_text()}",
        "-inheritDaemonEnv",
        "-logLevel=fatal",
    ]
    env = dict(os.environ)
    with (
        listening([sshd, "-D", "-e", "-f", str(config)], ports[0], folder / "user", env) as theirs,
        listening(ours, ports[1], folder / "user", env) as daemon,
    ):
        yield theirs, daemon


def compare(
    name: str, what: str, theirs: Callable[[], float], ours: Callable[[], float], rounds: int
) -> Figure:
    """Run both in turns; print the medians and their ratio."""
    floor: list[float] = []
    own: list[float] = []
    for _ in range(rounds):
        floor.append(theirs())
        own.append(ours())
    figure = Figure(name, statistics.median(own), "s", floor=statistics.median(floor))
    print(
        f"{what}: OpenSSH {figure.floor:.3f} s, diego-sshd {figure:.3f} s, ratio {figure.ratio:.2f}",
        flush=True,
    )
    return figure


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--connects", type=int, default=20, help="how often each connects (default 20)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each copies (default 3)")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the file (default 200)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as name:
        folder = Path(name)
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(args.megabytes):
                file.write(os.urandom(1 << 20))
        with both(folder) as (theirs, ours):
            idle = Figure("idle", ours.rss_megabytes(), "MB", floor=theirs.rss_megabytes())
            print(f"idle: OpenSSH {idle.floor:.1f} MB, diego-sshd {idle:.1f} MB")
            serving = Figure("serving", ours.serving_megabytes(), "MB")
            print(f"with a client: diego-sshd {serving:.1f} MB more")
            figures = [
                idle,
                serving,
                compare("connect", "connect to prompt", theirs.connect, ours.connect, args.connects),
            ]
            for protocol, what in (("-O", "scp"), ("-s", "sftp")):
                figures.append(
                    compare(
                        what,
                        f"{what} of {args.megabytes} MB there and back",
                        partial(theirs.copy, protocol, source, folder / "there"),
                        partial(ours.copy, protocol, source, folder / "there"),
                        args.rounds,
                    )
                )
    hand_on(figures, args.json)


if __name__ == "__main__":
    main()
