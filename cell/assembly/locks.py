"""Locks between the agents of one machine, for resources that only one agent may use.

A second agent with the same state folder, cell id or network would remove the first one's containers,
links and files at its start. It therefore takes all its locks first. The kernel releases a lock at any end
of its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from executor.config import ExecutorConfig
from rep.config import RepConfig

LOCK_DIR = Path("/run/diego-cell")
STATE_LOCK = "agent.lock"
_UNIX = "unix://"
_NETWORK_NAMESPACE = "/proc/self/ns/net"


class AlreadyInUse(Exception):
    """Another process of this machine holds a resource; the message names both."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A resource of one agent. key: the setting to change for another agent."""

    description: str
    key: str
    lock: Path


@contextmanager
def alone(config: RepConfig, executor: ExecutorConfig, lock_dir: Path = LOCK_DIR) -> Iterator[None]:
    """Hold the locks of all exclusive resources of a cell. Raises AlreadyInUse, OSError."""
    state = Path(config.state_dir)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    with ExitStack() as stack:
        for claim in claims(config, executor, lock_dir):
            holder = take(claim.lock, stack)
            if holder is not None:
                raise AlreadyInUse(
                    f"{claim.description} is in use by another cell{holder}: stop that one, "
                    f"or give this one another {claim.key}"
                )
        yield


def claims(config: RepConfig, executor: ExecutorConfig, lock_dir: Path) -> Sequence[Claim]:
    """The exclusive resources of a cell with this configuration."""
    namespace = str(os.stat(_NETWORK_NAMESPACE).st_ino)

    def claim(description: str, key: str, *parts: str) -> Claim:
        name = hashlib.sha256("\0".join((key, *parts)).encode()).hexdigest()[:32]
        return Claim(description, f"`{key}`", lock_dir / f"{key}-{name}.lock")

    engine = _engine(config.docker_host)
    cache, work = os.path.realpath(executor.cache_path), os.path.realpath(executor.work_dir)
    return (
        Claim(f"the state folder {config.state_dir}", "`state_dir`", Path(config.state_dir) / STATE_LOCK),
        claim(f"cell id {config.cell_id!r}", "cell_id", engine, config.container_owner_name, config.cell_id),
        claim(f"network {config.network_name!r}", "network_name", namespace, config.network_name),
        claim(f"packet table {config.nft_table!r}", "nft_table", namespace, config.nft_table),
        claim(f"the download cache {executor.cache_path}", "cache_path", cache),
        claim(f"the work folder {executor.work_dir}", "temp_dir", work),
    )


def take(path: Path, stack: ExitStack) -> str | None:
    """Lock a file until the stack exits. None, or a description of the present holder.

    The file contains the holder's process id. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).strip()
        return f" (process {pid.decode()})" if pid.isdigit() else ""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return None


def _engine(docker_host: str) -> str:
    """A canonical name of the engine for all paths of its socket."""
    if docker_host.startswith(_UNIX):
        return _UNIX + os.path.realpath(docker_host.removeprefix(_UNIX))
    return docker_host
