"""What the executor needs of a container engine.

The engine knows containers and processes; it never knows what an LRP is. ``executor.engine.docker``
is the implementation; tests of steps and containers use a scripted one (``tests/unit/executor/fakes.py``).

Every call raises :class:`executor.errors.EngineError` or a subclass of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from bbs.models.workload import SecurityGroupRule

OutputHandler = Callable[[bytes], None]
"""Gets output as it arrives, in the event loop; must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A path of the host inside the container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container to make. Limits in bytes, 0 means none; env are the instance's own variables, in order.

    address: the one its network will give it, under which it knows itself by name; the engine does not
    make it so. Empty for a container without a network. cpu_percent: hard limit, 100 being one core.
    no_new_privileges: setuid programs lose their effect.
    """

    guid: str
    root_fs: str
    address: str = ""
    image_username: str = ""
    image_password: str = ""
    privileged: bool = False
    env: tuple[tuple[str, str], ...] = ()
    memory_bytes: int = 0
    disk_bytes: int = 0
    max_pids: int = 0
    cpu_shares: int = 0
    cpu_percent: float = 0.0
    no_new_privileges: bool = False
    mounts: tuple[BindMount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContainer:
    """A container the engine made and started.

    id: the engine's own. init_pid: host pid of the waiting init process. address, disk_bytes: those of its
    spec. image_env: variables of the image, weakest layer of a process' environment. disk_quota: whether the
    engine's storage keeps the disk limit. image_bytes: size of the image, where it counts as the container's
    own disk usage.
    """

    guid: str
    id: str
    init_pid: int
    address: str
    image_env: tuple[tuple[str, str], ...] = ()
    disk_quota: bool = False
    image_bytes: int = 0
    disk_bytes: int = 0
    privileged: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to start.

    path: absolute, or a bare name looked up in PATH. user: name, uid, uid:gid or name:group.
    dir: absolute; empty means the user's home; a missing one is made, owned by the user.
    env: merged variables, strongest last; the engine adds PATH, USER and HOME where absent.
    nofile: soft and hard limit of open files, None keeps the engine's default.
    """

    path: str
    args: tuple[str, ...] = ()
    dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    user: str = "root"
    nofile: int | None = None


class Process(Protocol):
    """A started process."""

    @property
    def pid(self) -> int:
        """Host pid of the process itself (not of its tiny parent)."""
        ...

    async def wait(self) -> int:
        """Exit status 0-255 (128+n for death by signal n), once all output that was there was handled."""
        ...

    async def signal(self, signum: int) -> None:
        """Send a signal to the process itself, not to its group. A process that is gone is no error."""
        ...


class Engine(Protocol):
    """The container engine."""

    async def ping(self) -> None: ...

    async def create(
        self, spec: ContainerSpec, *, progress: Callable[[str], None] | None = None
    ) -> EngineContainer:
        """Get the image if need be, make the container, start its waiting init.

        A failure leaves nothing behind. ``progress`` hears of long phases (pulling).
        """
        ...

    async def destroy(self, guid: str) -> None:
        """Remove container and anonymous volumes; a missing one is success."""
        ...

    async def list_guids(self) -> set[str]:
        """Guids of all containers with our owner label, in any engine state."""
        ...

    async def start_process(
        self, container: EngineContainer, spec: ProcessSpec, stdout: OutputHandler, stderr: OutputHandler
    ) -> Process:
        """Start a process. Raises ProcessStartError with the runtime's text when it cannot start."""
        ...

    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        """Unpack the tar file ``tar_path`` of the host at ``path``, with the rights of ``user``: everything
        belongs to the user, missing parents are made, a relative path starts at the user's home. Modes are
        those of the archive with a umask of 022. Hostile members are refused.

        An empty ``user`` is root, and leaves everything to the owners and modes the archive names, as in the
        layer of an image."""
        ...

    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        """Copy the content of a file, read with the rights of ``user``, to an empty file of the host; its
        bytes.

        A relative path starts at the user's home, links are followed, a directory has no content. limit:
        bytes. Raises NoSuchFile, FileTooLarge.
        """
        ...

    async def out_of_memory(self, container: EngineContainer) -> bool:
        """Whether any process of the container was killed for memory so far."""
        ...

    async def total_memory_bytes(self) -> int: ...

    async def storage_bytes(self) -> int:
        """Size of the file system that holds the engine's storage."""
        ...


class Network(Protocol):
    """Addresses, links, host ports and packet rules of containers."""

    async def start(self) -> None:
        """Make what all containers share, and our nftables table anew."""
        ...

    async def stop(self) -> None:
        """Remove all of it. Raises NetworkError, and leaves it in force, while containers use it."""
        ...

    async def sweep(self) -> None:
        """Remove what is left of containers of an earlier life, once none of them exists any more."""
        ...

    async def close(self) -> None:
        """Let go of it and leave it in force, for containers that go on without us."""
        ...

    def reserve(self, guid: str, count: int) -> tuple[int, ...]:
        """Take ``count`` host ports out of the pool, in ascending order where it can. Raises NoFreePorts."""
        ...

    def address(self, guid: str) -> str:
        """Take an address, known before the container exists; the same again until it is detached.

        Raises NetworkError when there is none.
        """
        ...

    async def attach(
        self,
        container: EngineContainer,
        ports: Mapping[int, int],
        egress: Sequence[SecurityGroupRule] = (),
    ) -> None:
        """Link the container, map host ports (keys) to its ports (values) and put its egress rules in force:
        one transaction. Again for the same container: all of it is replaced."""
        ...

    async def open_socket(self, guid: str, family: socket.AddressFamily) -> socket.socket:
        """A non-blocking TCP socket in the network of an attached container. Raises NetworkError."""
        ...

    async def watch(self, tell: Callable[[str, str], None], give_up: Callable[[str, str], None]) -> None:
        """Mend the links of containers as soon as somebody removes them. Runs until it is cancelled.

        tell: called with a guid and a text for the owner of that instance. give_up: called with the guid of
        an instance that stays out of reach, and the reason.
        """
        ...

    async def verify(self) -> None:
        """Put right what somebody else changed. To be called now and then."""
        ...

    async def detach(self, guid: str) -> None:
        """Drop the container's mappings, put address and host ports back; unknown guids are fine."""
        ...

    @property
    def external_ip(self) -> str:
        """The host's address that routers and other cells reach."""
        ...
