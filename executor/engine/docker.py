"""Container engine on Docker: containers that only wait, and processes in them.

A container takes three engine calls (create, start, inspect) in one thread, and each process three more.
Nothing is polled, and threads are held for a short time only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, TypeVar

import psutil
from docker import APIClient
from docker.errors import NotFound

from bbs.models.guid import Guid, InvalidGuid, is_guid
from common.failpoints import failpoint
from common.shielded import finish
from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits
from executor.engine import files
from executor.engine.api import ContainerSpec, EngineContainer, OutputHandler, ProcessSpec
from executor.engine.binaries import require_static
from executor.engine.capabilities import host_bounding_set
from executor.engine.client import EngineClient
from executor.engine.copies import Copies
from executor.engine.createrequest import (
    LABEL_ADDRESS,
    LABEL_CELL,
    LABEL_DISK_BYTES,
    LABEL_GUID,
    LABEL_IMAGE_BYTES,
    LABEL_OWNER,
    LABEL_PRIVILEGED,
    CellSettings,
    container_name,
)
from executor.engine.creator import ContainerCreator, NameTaken, remove
from executor.engine.faults import ImageMissing
from executor.engine.handles import Handles
from executor.engine.images import Images
from executor.engine.imagevolumes import declared_volumes, leave_out
from executor.engine.measured import measured
from executor.engine.privileged import make_fuse
from executor.engine.process import DockerProcess, EndedProcess
from executor.engine.processes import Processes
from executor.engine.pulledimages import PulledImages
from executor.engine.readers import OutputReaders
from executor.engine.spools import Spools
from executor.engine.storage import DiskQuotas
from executor.engine.streams import Streams
from executor.environment import image_env
from executor.errors import ContainerGone, EngineError
from executor.reasons import reason_of
from executor.telemetry.meter import Meter

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of the engine.

    state_dir: host directory for the per-container io directories, with the same path for agent and
        engine; needs no space.
    owner, cell_id: labels of our containers.
    docker_host: URL of the engine, None for its default socket.
    name_prefix: prefix of container names.
    dns_servers: of the containers, empty for the engine's choice.
    workers: threads, 8 to 16.
    archive_limits: limits for copies into containers.
    logs_disk_limits: log once whether the engine or the watcher enforces disk limits.
    """

    state_dir: Path
    owner: str
    cell_id: str
    docker_host: str | None = None
    name_prefix: str = "cf-"
    dns_servers: tuple[str, ...] = ()
    init_path: str = "/usr/bin/catatonit"
    busybox_path: str = "/bin/busybox"
    workers: int = 8
    archive_limits: ArchiveLimits = DEFAULT_LIMITS
    logs_disk_limits: bool = True


class DockerEngine:
    """Implements :class:`executor.engine.api.Engine`. Create it inside a running event loop."""

    def __init__(
        self, config: EngineConfig, spools: Spools | None = None, meter: Meter | None = None
    ) -> None:
        """spools: for output of durable processes. Raises EngineError if the static programs are missing."""
        require_static(config.init_path, "catatonit")
        require_static(config.busybox_path, "busybox-static")
        meter = meter or Meter()
        self.instruments = meter.instruments
        self._stages = meter.stages
        self._config = config
        self._settings = CellSettings(
            owner=config.owner,
            cell_id=config.cell_id,
            name_prefix=config.name_prefix,
            dns_servers=config.dns_servers,
            init_path=config.init_path,
            busybox_path=config.busybox_path,
            capabilities=host_bounding_set(),
        )
        self._client = EngineClient(config.docker_host, config.workers)
        self._streams = Streams(config.docker_host, self._client)
        pulled = PulledImages(config.state_dir / "pulled-images.json")
        self._images = Images(self._client, self._streams, pulled)
        self._copies = Copies()
        self._outputs = OutputReaders(spools)
        self._processes = Processes(self._client, self._io_dir, self._outputs)
        self._handles = Handles()
        self._quotas = DiskQuotas(self._client)
        self._detached = False
        self._creator = ContainerCreator(self._client, self._settings, self._quotas, self._io_dir)

    async def close(self) -> None:
        """Close connections and threads; containers and processes stay."""
        self._processes.close()
        self._handles.close()
        await self._streams.close()
        await asyncio.to_thread(self._client.close)

    def detach(self) -> None:
        """Leave all containers and processes to the next agent process. No later call has an effect."""
        self._detached = True
        self._processes.close()

    @measured("ping")
    async def ping(self) -> None:
        """Raises EngineUnavailable. The first ping logs how disk limits are enforced."""
        await self._client.call("ping the engine", lambda api: api.ping())
        if self._config.logs_disk_limits:
            await self._quotas.announce()

    @measured("create")
    async def create(
        self, spec: ContainerSpec, *, progress: Callable[[str], None] | None = None
    ) -> EngineContainer:
        """Get the image if needed, create and start the container. A failure leaves nothing behind."""
        self._refuse_if_detached()
        report = progress or (lambda _: None)
        access = (spec.root_fs, spec.image_username, spec.image_password)
        with self._stages.timed(spec.guid, "image"):
            image = await self._images.get(*access, report)
        try:
            try:
                with self._stages.timed(spec.guid, "create"):
                    state = await self._creator.create(spec, image)
            except ImageMissing:
                image = await self._images.get(*access, report, missing=image)
                state = await self._creator.create(spec, image)
            container = self._known(spec.guid, state)
            await self._leave_out_volumes(container, declared_volumes(state))
            if spec.privileged:
                await asyncio.to_thread(make_fuse, self._handles.proc_fd(container), spec.guid)
            return container
        except NameTaken as error:
            raise EngineError(str(error)) from error
        except BaseException:
            await self._undo(spec.guid)
            raise

    @measured("destroy")
    async def destroy(self, guid: str) -> None:
        """Remove the container with its anonymous volumes and end its copies; a missing container is success.

        Removes the io directory only after the engine has removed the container. Raises EngineError.
        """
        self._refuse_if_detached()
        io_dir = self._io_dir(guid)
        self._copies.end(guid)
        name = container_name(self._settings, guid)

        def job(api: APIClient) -> None:
            failpoint("container.destroy.before")
            remove(api, name)
            failpoint("container.destroy.removed")
            shutil.rmtree(io_dir, ignore_errors=True)

        await self._client.call(f"destroy container {guid}", job)
        self._processes.forget(guid)
        self._handles.forget(guid)

    @measured("list")
    async def list_guids(self) -> set[str]:
        """Guids of all containers with our labels, in any engine state."""
        labels = [f"{LABEL_OWNER}={self._config.owner}", f"{LABEL_CELL}={self._config.cell_id}"]
        found = await self._client.call(
            "list containers", lambda api: api.containers(all=True, filters={"label": labels})
        )
        guids = {container["Labels"].get(LABEL_GUID, "") for container in found}
        if foreign := {guid for guid in guids if not is_guid(guid)}:
            logger.error("containers-with-invalid-guids-ignored", extra={"data": {"guids": sorted(foreign)}})
        return guids - foreign

    @measured("start_process")
    async def start_process(
        self,
        container: EngineContainer,
        spec: ProcessSpec,
        stdout: OutputHandler,
        stderr: OutputHandler,
        name: str = "",
    ) -> DockerProcess:
        """Start a process. Raises ProcessStartError with the runtime's text if it cannot start."""
        self._refuse_if_detached()
        proc_fd = self._handles.proc_fd(container)
        return await self._processes.start(container, proc_fd, spec, stdout, stderr, name)

    @measured("find")
    async def find(self, guid: str) -> EngineContainer | None:
        """A running container of ours from a previous agent process; None if there is none.

        Its init process is found by its id in the engine, and checked to be in the container's control group.
        """
        name = container_name(self._settings, guid)

        def look(api: APIClient) -> dict[str, Any] | None:
            try:
                return dict(api.inspect_container(name))
            except NotFound:
                return None

        state = await self._client.call(f"find container {guid}", look)
        if state is None or not state["State"]["Running"]:
            return None
        try:
            return self._known(guid, state)
        except ContainerGone:
            return None

    @measured("adopt_process")
    async def adopt_process(
        self, container: EngineContainer, name: str, stdout: OutputHandler, stderr: OutputHandler
    ) -> DockerProcess | EndedProcess | None:
        """Take over the durable process ``name`` of a previous agent process; None if it never started."""
        process = self._processes.adopt(container.guid, name, stdout, stderr)
        if isinstance(process, EndedProcess):
            await self._outputs.finish(container.guid, (stdout, stderr), name)
        return process

    async def sweep(self, keep: Collection[str]) -> None:
        """Remove the io directories of containers of a previous agent process, but for those of ``keep``.

        A kill between the directory and its container leaves one. What cannot be removed stays until the
        next start.
        """

        def work() -> None:
            with suppress(FileNotFoundError):
                for directory in (self._config.state_dir / "io").iterdir():
                    if directory.name not in keep:
                        shutil.rmtree(directory, ignore_errors=True)

        await asyncio.to_thread(work)

    async def sweep_processes(self, container: EngineContainer, keep: Collection[str]) -> None:
        """End the processes of a previous agent process, but for ``keep``."""
        try:
            self._processes.sweep(container.guid, keep)
        except OSError as error:
            raise EngineError(f"container {container.guid}: old processes: {reason_of(error)}") from error

    @measured("copy_in")
    async def stream_in(self, container: EngineContainer, path: str, user: str, tar_path: str) -> None:
        """Unpack a tar file of the host at ``path``, with the rights of ``user``."""
        limits = self._config.archive_limits

        def work(proc_fd: int, revoked: Event) -> None:
            files.unpack(proc_fd, path, user, Path(tar_path), limits, revoked)

        await self._copy(container, f"copy into {path} of container {container.guid}", work)

    @measured("copy_out")
    async def copy_out(
        self, container: EngineContainer, path: str, user: str, target: BinaryIO, limit: int
    ) -> int:
        """Copy a file's content, read with the rights of ``user``, to a file of the host."""

        def work(proc_fd: int, revoked: Event) -> int:
            return files.copy_out(proc_fd, path, user, target, limit, revoked)

        return await self._copy(container, f"copy {path} out of container {container.guid}", work)

    async def _leave_out_volumes(self, container: EngineContainer, volumes: Sequence[str]) -> None:
        """Replace the volumes that an image declares by plain directories of the container."""

        if volumes:
            asked = f"leave the volumes out of container {container.guid}"
            await self._copy(container, asked, lambda proc_fd, _: leave_out(proc_fd, volumes))

    async def _copy(self, container: EngineContainer, asked: str, work: Callable[[int, Event], T]) -> T:
        self._refuse_if_detached()
        # The container's own descriptor is closed with the container, while the thread may still run.
        proc_fd = os.dup(self._handles.proc_fd(container))

        def held(revoked: Event) -> T:
            try:
                return work(proc_fd, revoked)
            finally:
                os.close(proc_fd)

        return await self._copies.run(container.guid, asked, held)

    async def out_of_memory(self, container: EngineContainer) -> bool:
        """Whether any process of the container has been killed for memory."""
        return self._handles.out_of_memory(container)

    async def has_ended(self, container: EngineContainer) -> bool:
        """Whether its first process has ended, which only waits: the container was ended from outside."""
        return self._handles.has_ended(container)

    async def total_memory_bytes(self) -> int:
        """Memory of the engine's host."""
        return int((await self._info())["MemTotal"])

    async def storage_bytes(self) -> int:
        """Size of the file system that holds the engine's storage."""
        root = (await self._info())["DockerRootDir"]
        try:
            return int((await asyncio.to_thread(psutil.disk_usage, root)).total)
        except OSError as error:
            raise EngineError(f"size of the engine's storage {root}: {error.strerror}") from error

    async def _info(self) -> dict[str, Any]:
        return dict(await self._client.call("engine info", lambda api: api.info()))

    async def _undo(self, guid: str) -> None:
        try:
            await finish(self.destroy(guid))
        except EngineError as error:
            logger.warning(
                "failed-to-remove-half-made-container",
                extra={"data": {"guid": guid, "error": str(error)}},
            )

    def _known(self, guid: str, state: dict[str, Any]) -> EngineContainer:
        container = EngineContainer(
            guid=guid,
            id=state["Id"],
            init_pid=state["State"]["Pid"],
            address=state["Config"]["Labels"][LABEL_ADDRESS],
            image_env=image_env(state["Config"]["Env"] or []),
            disk_quota=bool(state["HostConfig"].get("StorageOpt")),
            disk_bytes=int(state["Config"]["Labels"].get(LABEL_DISK_BYTES, 0)),
            privileged=LABEL_PRIVILEGED in state["Config"]["Labels"],
            image_bytes=int(state["Config"]["Labels"].get(LABEL_IMAGE_BYTES, 0)),
            labels=state["Config"]["Labels"],
            mounted=tuple(sorted(mount.get("Source", "") for mount in state.get("Mounts") or ())),
        )
        self._handles.proc_fd(container)
        return container

    def _refuse_if_detached(self) -> None:
        """Raises CancelledError: the caller's work belongs to the next agent process."""
        if self._detached:
            raise asyncio.CancelledError

    def _io_dir(self, guid: str) -> Path:
        """Raises EngineError for an invalid guid."""
        try:
            return Guid(guid).below(self._config.state_dir / "io")
        except InvalidGuid as error:
            raise EngineError(f"container {error}") from error
