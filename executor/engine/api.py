"""Interface of the container engine, as the executor uses it.

The engine handles containers and processes, without knowledge of LRPs. ``executor.engine.docker`` is the
implementation; tests of steps and containers use a scripted one (``tests/unit/executor/fakes.py``).

Every call raises :class:`executor.errors.EngineError` or a subclass of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, runtime_checkable

from executor.engine.spool import Spool

OutputHandler = Callable[[bytes], None]
"""Receives output as it arrives, in the event loop; must not block."""


@runtime_checkable
class DurableHandler(Protocol):
    """An output handler that takes output from a spool, which keeps it until it is delivered."""

    def __call__(self, data: bytes) -> None: ...

    def take(self, data: bytes, end: int, spool: Spool) -> None:
        """Handle output that ends at the offset ``end`` of its stream."""
        ...

    def labels(self) -> bytes:
        """What a later agent process needs to deliver the rest of a process that has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A host path mounted into the container."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container to create. Limits in bytes, 0 for none.

    env: the instance's own variables, in order.
    address: the container's future network address, to which its host name resolves; the engine does not
        set it up. Empty for a container without network.
    cpu_percent: hard limit, 100 is one core.
    no_new_privileges: setuid programs have no effect.
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
    """A container that the engine created and started.

    id: the engine's id.
    init_pid: host pid of the waiting init process.
    address, disk_bytes: as in its spec.
    image_env: variables of the image, the weakest layer of a process's environment.
    disk_quota: whether the engine's storage enforces the disk limit.
    image_bytes: size of the image if it counts as the container's disk usage.
    mounted: host paths of its mounts.
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
    mounted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to start.

    path: absolute, or a bare name looked up in PATH.
    user: name, uid, uid:gid or name:group.
    dir: absolute; empty means the user's home; a missing one is created, owned by the user.
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
        """Exit status 0-255 (128+n for death by signal n), once the available output is handled."""
        ...

    async def signal(self, signum: int) -> None:
        """Send a signal to the process itself, not to its group. An ended process is no error."""
        ...

    async def release(self) -> None:
        """Forget a durable process whose end is recorded elsewhere."""
        ...


class Engine(Protocol):
    """The container engine."""

    async def ping(self) -> None: ...

    async def create(
        self, spec: ContainerSpec, *, progress: Callable[[str], None] | None = None
    ) -> EngineContainer:
        """Get the image if needed, create the container, start its waiting init.

        A failure leaves nothing behind. ``progress`` gets messages about long phases (pulls).
        """
        ...

    async def destroy(self, guid: str) -> None:
        """Remove container and anonymous volumes; a missing container is success."""
        ...

    async def list_guids(self) -> set[str]:
        """Guids of all containers with our owner label, in any engine state."""
        ...

    async def find(self, guid: str) -> EngineContainer | None:
        """The running container of a previous agent process; None if there is none."""
        ...

    def detach(self) -> None:
        """Leave all containers and processes to the next agent process.

        From now on no call has an effect on them: signals do nothing, and waits and other calls raise
        CancelledError.
        """
        ...

    async def start_process(
        self,
        container: EngineContainer,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> Process:
        """Start a process. Raises ProcessStartError with the runtime's text if it cannot start.

        name: makes the process durable: the next agent process can adopt it by this name, which is unique in
        the container, until it is released.
        """
        ...

    async def adopt_process(
        self, container: EngineContainer, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> Process | None:
        """Take over the durable process ``name`` that a previous agent process started.

        Its unread output and its exit status are kept. None: it never executed its program.
        """
        ...

    async def sweep(self, keep: Collection[str]) -> None:
        """Remove the files of containers that a previous agent process left, but for those of ``keep``."""
        ...

    async def sweep_processes(self, container: EngineContainer, keep: Collection[str]) -> None:
        """End the processes that a previous agent process started in the container, but for ``keep``."""
        ...

    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        """Unpack the host's tar file ``tar_path`` at ``path``, with the rights of ``user``.

        The user owns all files. Missing parents are created; a relative path starts at the user's home.
        Modes are the archive's with umask 022. Hostile members are refused.

        An empty ``user`` is root; owners and modes are then the archive's, as in an image layer.
        """
        ...

    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        """Copy a file's content, read with the rights of ``user``, to an empty host file; return its size.

        A relative path starts at the user's home, links are followed, a directory has no content. limit:
        bytes. Raises NoSuchFile, FileTooLarge.
        """
        ...

    async def out_of_memory(self, container: EngineContainer) -> bool:
        """Whether any process of the container has been killed for memory."""
        ...

    async def has_ended(self, container: EngineContainer) -> bool:
        """Whether its first process has ended, which only waits: the container was ended from outside."""
        ...

    async def total_memory_bytes(self) -> int: ...

    async def storage_bytes(self) -> int:
        """Size of the file system that holds the engine's storage."""
        ...
