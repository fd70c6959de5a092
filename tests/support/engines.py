"""Fixtures: a root filesystem archive, an instance identity authority, private engines."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
)
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import APIClient

from cell.development.images import build_rootfs_tar
from executor.identity.authority import private_pem, utc_now

PATIENCE_S = 30.0
ENGINE_PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def rootfs_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny root file system as an archive."""
    archive = tmp_path_factory.mktemp("rootfs") / "rootfs.tar"
    build_rootfs_tar(archive)
    return archive


@pytest.fixture
def identity(tmp_path: Path) -> dict[str, Any]:
    """Settings of a cell with an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "instanceIdentityCA")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(utc_now())
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "ca.key").write_bytes(private_pem(key))
    return {
        "instance_identity_cred_dir": str(tmp_path / "creds"),
        "instance_identity_ca_path": str(tmp_path / "ca.crt"),
        "instance_identity_private_key_path": str(tmp_path / "ca.key"),
        "instance_identity_key_type": "ecdsa",
    }


class OwnEngine:
    """A dockerd of a test's own, which can be stopped, killed and started again.

    It lives in a mount namespace of its own, with its own containerd, so that all it mounts goes with it, and
    in a network namespace of its own: an engine told to have no bridge removes the docker0 it finds.
    """

    def __init__(self, folder: Path, options: Sequence[str], before: str, data_root: str) -> None:
        self.docker_host = f"unix://{folder}/sock"
        self._folder = folder
        self._before = before
        self._command = [
            *("dockerd", "--data-root", data_root or f"{folder}/root", "--exec-root", f"{folder}/exec"),
            *("--pidfile", f"{folder}/pid", "--host", self.docker_host),
            *("--bridge=none", "--iptables=false", "--ip-masq=false", *options),
        ]
        self._keeper: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started when entered; gone with its namespaces when left."""
        self._folder.mkdir(mode=0o711)
        try:
            with self._namespaces():
                self.start()
                try:
                    yield
                finally:
                    self.stop()
        finally:
            shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, and wait until it answers. Raises AssertionError."""
        assert self._keeper is not None
        enter = ["nsenter", "--target", str(self._keeper.pid), "--net", "--mount"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*enter, *self._command], stdout=log, stderr=log, start_new_session=True, env=_PATH
            )
        _await_engine(self._folder / "sock", self._process, self._folder / "log")

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(ENGINE_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it by SIGKILL. Its containers go on; without live-restore, its next start ends them."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        process.wait()
        # Its containerd ends with it. Where process 1 reaps late, the next start would take it for alive.
        (self._folder / "exec" / "containerd" / "containerd.pid").unlink()

    @contextmanager
    def _namespaces(self) -> Iterator[None]:
        """Namespaces that last as long as the block, whatever becomes of the engine."""
        script = f"set -e; mount -t tmpfs none /run/containerd; {self._before}; echo; exec sleep infinity"
        command = ["unshare", "--net", "--mount", "--propagation", "slave", "sh", "-c", script]
        environment = {"DIR": str(self._folder), **_PATH}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as keeper:
            try:
                assert keeper.stdout is not None
                assert keeper.stdout.readline(), f"the namespaces were not made: {self._before}"
                self._keeper = keeper
                yield
            finally:
                keeper.kill()


OpenEngine = Callable[..., AbstractContextManager[OwnEngine]]
StartEngine = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def own_engine(docker_client: APIClient, unique: str) -> OpenEngine:
    """Starts an engine of the test's own: ``with own_engine("--option", before="...") as engine``.

    ``before`` is a shell command in its namespaces; ``$DIR`` is the directory of the engine.
    """

    @contextmanager
    def started(*options: str, before: str = "true", data_root: str = "") -> Iterator[OwnEngine]:
        folder = Path("/tmp", f"cell-{unique}")  # short: it is part of the paths of sockets
        engine = OwnEngine(folder, options, before, data_root)
        with engine.running():
            yield engine

    return started


@pytest.fixture
def start_engine(own_engine: OpenEngine) -> StartEngine:
    """The same, as the address of the engine alone: ``with start_engine("--option") as docker_host``."""

    @contextmanager
    def started(*options: str, before: str = "true", data_root: str = "") -> Iterator[str]:
        with own_engine(*options, before=before, data_root=data_root) as engine:
            yield engine.docker_host

    return started


REMAPPED_FIRST, REMAPPED_COUNT = 100_000, 65_536
"""The host's users that stand in for those of containers."""
REMAP = (
    f'echo "daemon:{REMAPPED_FIRST}:{REMAPPED_COUNT}" > "$DIR/ids"; '
    'mount --bind "$DIR/ids" /etc/subuid; mount --bind "$DIR/ids" /etc/subgid'
)
"""What an engine with ``--userns-remap=daemon`` needs before its start."""

_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def _await_engine(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + ENGINE_PATIENCE_S
    while not _answers(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the engine did not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in probe.recv(100)
        except OSError:
            return False
