"""``diego-sshd`` of the bundle in different root file systems, with a stock client outside."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from docker import APIClient
from docker.errors import ImageNotFound

from cell.development.images import remove_others

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

IDLE_RSS_KB = 12 * 1024

HAS_SHELL = {"static": False, "musl": True, "busybox": True, "debian": True}
MODES = {
    "root": [],
    "unknown-user": ["--user", "4242"],
    "read-only": ["--read-only", "--user", "4242"],
}
"""Mode -> options of the container."""


def run(*command: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(list(map(str, command)), input=data, capture_output=True, timeout=40)


def succeed(*command: str | Path) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sshd-bundle")
    for parent in (place, *place.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    succeed(sys.executable, "-m", "lifecycle.bundle.build", "--tree-only", place / "tree")
    return place / "tree"


@pytest.fixture(scope="module")
def image_of(docker_client: APIClient) -> Callable[[str], str]:
    """Name of the image with a root file system, imported when first asked for."""

    def image(name: str) -> str:
        archive = Path(succeed(sys.executable, "-m", "tests.support.roots", name))
        root, _, version = archive.stem.rpartition("-")
        tag = f"diego-cell/test-root-{root}:{version}"
        try:
            docker_client.inspect_image(tag)
        except ImageNotFound:
            succeed("docker", "import", archive, tag)
            remove_others(docker_client, tag)
        return tag

    return image


@pytest.fixture(scope="module")
def network(docker_client: APIClient) -> Iterator[str]:
    """A network of our own: an engine may have been started without its default bridge."""
    name = f"sshd-{secrets.token_hex(4)}"
    succeed("docker", "network", "create", name)
    yield name
    succeed("docker", "network", "rm", name)


@dataclass(frozen=True)
class Keys:
    host: str
    identity: Path
    authorized: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    def pem(key: rsa.RSAPrivateKey) -> str:
        form = serialization.PrivateFormat.TraditionalOpenSSL
        return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()

    user = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    identity = tmp_path_factory.mktemp("identity") / "id"
    identity.write_text(pem(user))
    identity.chmod(0o600)
    public = user.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return Keys(
        pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)), identity, public.decode()
    )


@dataclass(frozen=True)
class Daemon:
    """The daemon of a running container."""

    address: str
    pid: int
    options: list[str]

    def ssh(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run("ssh", *self.options, "-p", "2222", *words)

    def idle_rss_kb(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])


@contextmanager
def daemon_in(
    image: str, name: str, network: str, options: list[str], bundle: Path, keys: Keys, client: APIClient
) -> Iterator[Daemon]:
    """A container whose first process is the daemon."""
    try:
        succeed(
            *("docker", "run", "-d", "--name", name, "--network", network),
            *("--tmpfs", "/tmp:exec,mode=1777", "-v", f"{bundle}:/lifecycle:ro"),
            *(*options, "-e", "HOME=/tmp", "-e", "USER=vcap", image, "/lifecycle/diego-sshd"),
            *("-address=0.0.0.0:2222", f"-hostKey={keys.host}", f"-authorizedKey={keys.authorized}"),
            *("-inheritDaemonEnv", "-logLevel=fatal"),
        )
        details = client.inspect_container(name)
        address = str(details["NetworkSettings"]["Networks"][network]["IPAddress"])
        wait_for(address)
        stock = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        stock += ["-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-i", str(keys.identity)]
        yield Daemon(address, int(details["State"]["Pid"]), stock)
    finally:
        run("docker", "rm", "-f", name)


def wait_for(address: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection((address, 2222), 5).close()
        except ConnectionRefusedError:
            continue
        return
    pytest.fail("the daemon does not listen")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("root", HAS_SHELL)
def test_a_stock_client_is_served(
    root: str,
    mode: str,
    docker_client: APIClient,
    image_of: Callable[[str], str],
    bundle: Path,
    keys: Keys,
    network: str,
    unique: str,
    tmp_path: Path,
) -> None:
    local, back = tmp_path / "local", tmp_path / "back"
    local.write_bytes(os.urandom(300_000))
    with daemon_in(image_of(root), unique, network, MODES[mode], bundle, keys, docker_client) as daemon:
        idle = daemon.idle_rss_kb()
        cmdline = Path(f"/proc/{daemon.pid}/cmdline").read_bytes()
        there = f"vcap@{daemon.address}"
        command = daemon.ssh(there, "echo $USER $HOME; exit 7")
        terminal = daemon.ssh("-tt", there, "test -t 0 && echo terminal")
        for protocol in ("-O", "-s"):
            copy = ["scp", *daemon.options, protocol, "-P", "2222"]
            succeed(*copy, local, f"{there}:/tmp/file{protocol}")
            succeed(*copy, f"{there}:/tmp/file{protocol}", back)
            assert back.read_bytes() == local.read_bytes()
            back.unlink()
        listing = run("sftp", *daemon.options, "-b", "-", "-P", "2222", there, data=b"pwd\nls -l /tmp\n")
        tunnel = run("ssh", *daemon.options, "-p", "2222", "-W", "127.0.0.1:2222", there, data=b"")
    assert b"BEGIN" not in cmdline
    assert idle < IDLE_RSS_KB
    if HAS_SHELL[root]:
        assert (command.returncode, command.stdout) == (7, b"vcap /tmp\n"), command.stderr
        assert (terminal.returncode, terminal.stdout) == (0, b"terminal\r\n")
    else:
        assert (command.returncode, command.stdout) == (255, b"")
        assert terminal.returncode == 255
    assert b"Remote working directory: /" in listing.stdout
    assert listing.stdout.count(b" 300000 ") == 2
    assert tunnel.stdout.startswith(b"SSH-2.0-diego-sshd")
