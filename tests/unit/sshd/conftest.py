"""A real ``diego-sshd`` process, and a client that can send any packet."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from asyncssh.packet import SSHPacket
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cell.development.freeport import free_port
from sshd.ssh import messages as m
from sshd.ssh.channel import Channel
from sshd.ssh.client import ClientLink, Credentials, client_options, connect
from sshd.ssh.library import asyncssh
from sshd.ssh.mux import OpenRequest
from sshd.wire import boolean, string
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY

START = (
    "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep); "
    "from sshd.program import main; status = main(sys.argv[2:]); sys.stdout.flush(); os._exit(status)"
)
"""What the bundle's start does: the program's own arguments from argv[0] on, nothing of ``site``."""

PATHS = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])


@dataclass(frozen=True)
class Keys:
    """Host keys by type and a user key, as texts."""

    host: dict[str, str]
    user: str
    authorized: str
    other_users: tuple[str, ...]


def _pem(key: object) -> str:
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)
    form = (
        serialization.PrivateFormat.OpenSSH
        if isinstance(key, ed25519.Ed25519PrivateKey)
        else serialization.PrivateFormat.TraditionalOpenSSL
    )
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture(scope="session")
def keys() -> Keys:
    user = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = user.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return Keys(
        host={
            "rsa": _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            "ecdsa": _pem(ec.generate_private_key(ec.SECP256R1())),
            "ed25519": _pem(ed25519.Ed25519PrivateKey.generate()),
        },
        user=_pem(user),
        authorized=public.decode(),
        other_users=tuple(_pem(ed25519.Ed25519PrivateKey.generate()) for _ in range(6)),
    )


@dataclass
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)


class Daemons:
    """Starts daemons and stops them."""

    argv0 = sys.executable
    """The name of the daemon, under which it starts itself again."""

    def __init__(self, keys: Keys, homes: Path) -> None:
        self.keys = keys
        self._homes = homes
        self._stack = ExitStack()
        self._kept: dict[object, Daemon] = {}

    def start(
        self,
        argv0: str,
        arguments: Sequence[str],
        cwd: Path,
        env: dict[str, str],
        stdout: int,
        stderr: int | None,
    ) -> subprocess.Popen[bytes]:
        """The daemon's process, whether it will listen or not; its input is empty."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, PATHS, argv0, *arguments],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    @contextmanager
    def run(
        self, home: Path, *arguments: str, env: dict[str, str] | None = None, host_key: str = "rsa"
    ) -> Iterator[Daemon]:
        """A daemon that listens; it takes the user's key unless the arguments say otherwise."""
        port = free_port()
        own = [
            f"-address=127.0.0.1:{port}",
            f"-hostKey={self.keys.host[host_key]}",
            f"-authorizedKey={self.keys.authorized}",
        ]
        if env is None:
            env = {"PATH": os.environ["PATH"], "HOME": str(home), "USER": "vc"}
        process = self.start(self.argv0, [*own, *arguments], home, env, subprocess.DEVNULL, None)
        daemon = Daemon(process, port, home)
        try:
            wait_for_port(port, process)
            yield daemon
        finally:
            daemon.stop()

    def kept(self, *arguments: str, env: dict[str, str] | None = None) -> AbstractContextManager[Daemon]:
        """A daemon that stays for other tests with the same arguments and environment.

        Its home is empty at first; the value HOME in ``env`` stands for it.
        """
        key = (arguments, tuple(sorted((env or {}).items())))
        if key not in self._kept:
            home = Path(self._stack.enter_context(TemporaryDirectory(dir=self._homes)))
            actual = {name: value.replace("HOME", str(home)) for name, value in (env or {}).items()}
            self._kept[key] = self._stack.enter_context(self.run(home, *arguments, env=actual or None))
        return nullcontext(self._kept[key])

    @staticmethod
    def empty(daemon: Daemon) -> None:
        """Remove everything from its home."""
        for path in daemon.home.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def stop(self) -> None:
        self._stack.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "the daemon ended instead of listening"
            time.sleep(0.01)
        else:
            return


def children(pid: int) -> list[int]:
    """Process ids."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rss_kb(pid: int) -> int:
    """Resident memory in KiB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


@pytest.fixture(scope="session")
def daemons(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    all_of_them = Daemons(keys, tmp_path_factory.mktemp("homes"))
    yield all_of_them
    all_of_them.stop()


@pytest.fixture
def daemon(daemons: Daemons) -> Daemon:
    """One daemon for all tests that need nothing special."""
    with daemons.kept() as running:
        return running


@dataclass
class Seen:
    """All that arrived on one channel."""

    output: bytes = b""
    errors: bytes = b""
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    eof: bool = False


class Recorder:
    """A channel's handler that keeps what arrives."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.channel: Channel
        self.over = asyncio.Event()
        self._news = asyncio.Event()
        self._hungry = True
        self._untaken = 0

    def opened(self, channel: Channel) -> None:
        self.channel = channel

    async def until(self, condition: Callable[[Seen], bool], timeout_s: float = 60.0) -> None:
        """Wait until what has arrived is enough."""
        async with asyncio.timeout(timeout_s):
            while not condition(self.seen):
                self._news.clear()
                await self._news.wait()

    def data_received(self, kind: int, data: bytes) -> None:
        self._news.set()
        if kind == m.STDERR:
            self.seen.errors += data
        else:
            self.seen.output += data
        if self._hungry:
            self.channel.consumed(len(data))
        else:
            self._untaken += len(data)

    def fast(self) -> None:
        """Give no window back from now on."""
        self._hungry = False

    def eat(self) -> None:
        """Give it back, what is owed included."""
        self._hungry = True
        self.channel.consumed(self._untaken)
        self._untaken = 0

    def eof_received(self) -> None:
        self.seen.eof = True

    def request_received(self, name: str, payload: bytes, reply: Callable[[bool], None]) -> None:
        self.seen.requests.append((name, payload))
        self._news.set()
        reply(True)

    def writable(self) -> None:
        pass

    def closed(self) -> None:
        self.over.set()


@pytest.fixture
def recorder() -> Callable[[], Recorder]:
    return Recorder


class Visitor:
    """The client's policy: it refuses channels without a script."""

    def __init__(self) -> None:
        self.opened: list[OpenRequest] = []
        self.accept: Callable[[OpenRequest], None] | None = None
        self.ended = asyncio.Event()

    def open_requested(self, request: OpenRequest) -> None:
        self.opened.append(request)
        if self.accept is None:
            request.refuse(m.OPEN_CONNECT_FAILED, "not expected")
        else:
            self.accept(request)

    def global_requested(self, name: str, payload: bytes, reply: Callable[[bool, bytes], None]) -> None:
        reply(False, b"")

    def connection_ended(self, error: Exception | None) -> None:
        self.ended.set()


@dataclass
class Client:
    """One authenticated connection."""

    link: ClientLink
    visitor: Visitor

    async def open(self, kind: str = "session", extra: bytes = b"") -> Recorder:
        assert self.link.mux is not None
        recorder = Recorder()
        await self.link.mux.open(kind, recorder, extra)
        return recorder


@pytest.fixture
async def connect_to(keys: Keys) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Connects as the authorized user; everything opened is closed at the end."""
    links: list[ClientLink] = []

    async def go(port: int, credentials: Credentials | None = None) -> Client:
        end = socket.create_connection(("127.0.0.1", port), 10)
        end.setblocking(False)
        visitor = Visitor()
        wanted = credentials or Credentials("vcap", private_key=asyncssh.import_private_key(keys.user))
        link = await connect(end, wanted, lambda _: True, visitor, version="test")
        links.append(link)
        return Client(link, visitor)

    yield go
    for link in links:
        link.abort()
        await link.wait_closed()


class Clock:
    """The time of the running event loop, which a test can move forward."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ahead = 0.0
        real = loop.time
        loop.time = lambda: real() + self._ahead  # type: ignore[method-assign]

    def advance(self, seconds: float) -> None:
        """Timers that are due by then fire in the next turns of the loop."""
        self._ahead += seconds


@pytest.fixture
async def clock() -> Clock:
    return Clock(asyncio.get_running_loop())


@pytest.fixture
def port() -> int:
    """A free one."""
    return free_port()


@dataclass(frozen=True)
class OpenSSH:
    """The stock client's programs, with nothing of this machine's configuration."""

    identity: Path

    @property
    def options(self) -> list[str]:
        return [
            *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *("-i", str(self.identity)),
        ]

    def __call__(
        self, daemon: Daemon, *extra: str, command: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ssh", *self.options, "-p", str(daemon.port), *extra, "vcap@127.0.0.1", command],
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )


@pytest.fixture(scope="session")
def ssh(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> OpenSSH:
    identity = tmp_path_factory.mktemp("ssh") / "id"
    identity.write_text(keys.user)
    identity.chmod(0o600)
    return OpenSSH(identity)


class Probe(ClientLink):
    """A client that authenticates by hand and keeps every answer."""

    def __init__(self) -> None:
        super().__init__(client_options(Credentials("probe"), "probe"), lambda _: True, None)  # type: ignore[arg-type]
        self.authenticated.cancel()  # nobody waits for it
        self.ready = asyncio.Event()
        self.answers: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.extensions: list[list[str]] = []

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self.ready.set()

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        names = {1: "disconnect", 51: "failure", 52: "success"}
        if pkttype == 7:
            count = packet.get_uint32()
            self.extensions = [
                [packet.get_string().decode(), packet.get_string().decode()] for _ in range(count)
            ]
            return True
        if pkttype == m.SERVICE_ACCEPT and self.ready.is_set():
            return True
        if pkttype in names:
            self.answers.put_nowait((names[pkttype], packet.get_remaining_payload()))
            return True
        return super().process_packet(pkttype, pktid, packet)

    def attempt(self, method: str, *fields: bytes) -> None:
        self.send_packet(50, string(b"probe"), string(b"ssh-connection"), string(method.encode()), *fields)

    def query(self, key: asyncssh.SSHKey) -> None:
        self.attempt("publickey", boolean(False), string(key.algorithm), string(key.public_data))

    def sign(self, key: asyncssh.SSHKey) -> None:
        head = boolean(True) + string(b"rsa-sha2-256") + string(key.public_data)
        signed = (
            string(self._session_id)
            + b"\x32"
            + string(b"probe")
            + string(b"ssh-connection")
            + string(b"publickey")
            + head
        )
        self.attempt("publickey", head, string(key.sign(signed, b"rsa-sha2-256")))


@pytest.fixture
async def probe() -> AsyncIterator[Callable[[int], Awaitable[Probe]]]:
    """Connects, exchanges keys and leaves the rest to the test."""
    links: list[Probe] = []

    async def go(port: int) -> Probe:
        _, link = await asyncio.get_running_loop().create_connection(Probe, "127.0.0.1", port)
        links.append(link)
        await link.ready.wait()
        return link

    yield go
    for link in links:
        link.abort()
        await link.wait_closed()
