"""Container creation: the steps from a run request to a container of the engine.

Each step has its own failure reason, visible to the control plane and the app's owner.
:meth:`Creator.release` gives back the resources of a partial creation; every destruction calls it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from bbs.models.validation.egress import validate_security_group_rule
from common.shielded import finish
from executor.capacity import MIB, cpu_percent, cpu_shares
from executor.clock import Clock
from executor.config import ExecutorConfig
from executor.containers import servicefiles
from executor.containers.applog import AppLog
from executor.containers.layers import Layers, NoLayers
from executor.containers.machine import Create
from executor.containers.observing import NoObserver, Observer
from executor.engine.api import BindMount, ContainerSpec, Engine, EngineContainer
from executor.environment import CF_SYSTEM_CERT_PATH, Env
from executor.errors import EngineError, EngineUnavailable, ExecutorError
from executor.identity.authority import IdentityError
from executor.identity.instances import Identity, NoIdentity
from executor.model import Container, PortMapping, RunInfo
from executor.network.api import Network
from executor.telemetry.meter import Meter
from executor.volumes.api import VolumeError
from executor.volumes.manager import VolumeManager

log = logging.getLogger(__name__)

HEALTHCHECK_DIR = "/etc/cf-assets/healthcheck"


ENGINE_ABSENCE_S = 60.0
"""How long a creation waits for an engine that does not answer. Then the control plane places it again."""
ENGINE_PAUSE_S = 0.2
"""Pause between pings."""


class CreationFailed(ExecutorError):
    """A creation step failed; the text is the failure reason.

    The control plane may place the work on another cell.
    """


class Dependencies(Protocol):
    """Cached dependencies of containers."""

    async def mounts(self, container: Container) -> tuple[BindMount, ...]:
        """Fetch all dependencies and hold them until released. Raises ExecutorError or OSError."""
        ...

    async def release(self, guid: str) -> None:
        """Release the dependencies of a container; ignores unknown guids. Raises ExecutorError or OSError."""
        ...

    def adopt(self, guid: str, mounted: Sequence[str]) -> None:
        """Hold the dependencies of a container of a previous process. mounted: host paths of its mounts."""
        ...

    async def sweep(self) -> None:
        """Remove what no adopted container holds. Raises ExecutorError or OSError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionalResources:
    """Providers of instance identities, volumes and layers on top of the image; the defaults provide nothing.

    Creation acquires these resources, destruction releases them.
    """

    identity: Identity = field(default_factory=NoIdentity)
    volumes: VolumeManager = field(default_factory=lambda: VolumeManager(()))
    layers: Layers = field(default_factory=NoLayers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """Result of a creation: the engine's container and the move for the state machine.

    started_at: monotonic s, start of the creation; the setup duration is measured from it.
    """

    engine_container: EngineContainer
    move: Create
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator:
    """Creates containers and releases their resources on the host."""

    config: ExecutorConfig
    engine: Engine
    network: Network
    dependencies: Dependencies
    app_log: AppLog
    meter: Meter
    clock: Clock
    resources: OptionalResources
    observer: Observer = field(default_factory=NoObserver)

    @property
    def _service_folder(self) -> str:
        return servicefiles.cell_folder(self.config.volume_mounted_files, self.config.cell_id)

    async def sweep(self, kept: Sequence[Container]) -> None:
        """Remove files, credentials and volumes of all other containers of the previous process.

        Raises ExecutorError.
        """
        guids = {container.guid for container in kept}
        try:
            await asyncio.to_thread(servicefiles.sweep, self._service_folder, guids)
        except OSError as error:
            raise ExecutorError(f"service files of an earlier life cannot be removed: {error}") from error
        await self.resources.identity.retain(guids)
        await self.resources.volumes.start({each.guid: each.run_info.volume_mounts for each in kept})

    async def sweep_cache(self) -> None:
        """Remove cached dependencies that no container holds."""
        try:
            await self.dependencies.sweep()
        except (ExecutorError, OSError) as error:
            log.error("failed-to-sweep-cached-dependencies", extra={"data": {"error": str(error)}})

    async def create(self, container: Container) -> Creation:
        """Create a container.

        Destroy and release remove the remains of a cancelled creation. Raises CreationFailed.
        """
        started_at = self.clock.monotonic()
        info = container.run_info
        self._check(container)
        mounts = [*await self._dependency_mounts(container)]
        mounts += trusted_certificates(self.config, info)
        mounts += await self._volumes(container)
        credentials = await self._credentials(container)
        mounts += await self._service_files(container)
        mounts += credentials
        if self.config.declarative_healthcheck_path:
            mounts.append(BindMount(source=self.config.declarative_healthcheck_path, target=HEALTHCHECK_DIR))
        self.app_log.creating(info.log_config, container.guid)
        env = instance_env(self.config, info, self.resources.identity.env)
        spec = container_spec(self.config, container, env=env, mounts=tuple(mounts))
        try:
            made, move = await self._engine_container(container, spec)
        except ExecutorError as error:
            log.error("failed-to-create-container", extra=_data(container.guid, error=str(error)))
            raise self._failed(container, without_sources(str(error), spec.mounts)) from error
        self.app_log.created(info.log_config, container.guid)
        return Creation(engine_container=made, move=move, started_at=started_at)

    def _check(self, container: Container) -> None:
        """Run the cheap checks before downloads and volumes. Raises CreationFailed."""
        try:
            check_egress(container)
            check_privileges(self.config, container)
        except ExecutorError as error:
            raise self._failed(container, str(error)) from error

    def _failed(self, container: Container, reason: str) -> CreationFailed:
        self.app_log.creation_failed(container.run_info.log_config, container.guid, reason)
        return CreationFailed(f"failed to create container: {reason}")

    async def release(self, guid: str) -> None:
        """Release the cached dependencies. Raises ExecutorError."""
        try:
            await self.dependencies.release(guid)
        except (ExecutorError, OSError) as error:
            log.error("failed-to-release-cached-dependencies", extra=_data(guid, error=str(error)))
            raise ExecutorError("failed to cleanup bindmount artifacts") from error

    async def remove_files(self, guid: str) -> None:
        """Remove service files, volumes and credentials; failures are logged."""
        if self._service_folder:
            try:
                await finish(asyncio.to_thread(servicefiles.remove, self._service_folder, guid))
            except (OSError, ValueError) as error:
                log.error("failed-to-remove-service-files", extra=_data(guid, error=str(error)))
        await self.resources.volumes.unmount(guid)
        try:
            await self.resources.identity.remove(guid)
        except IdentityError as error:
            log.error("failed-to-remove-credentials", extra=_data(guid, error=str(error)))

    async def _dependency_mounts(self, container: Container) -> tuple[BindMount, ...]:
        try:
            return await self.dependencies.mounts(container)
        except (ExecutorError, OSError) as error:
            log.error("failed-to-download-cached-artifacts", extra=_data(container.guid, error=str(error)))
            raise CreationFailed("failed to download cached artifacts") from error

    async def _volumes(self, container: Container) -> tuple[BindMount, ...]:
        try:
            return await self.resources.volumes.mount(container.guid, container.run_info.volume_mounts)
        except VolumeError as error:
            log.error("failed-to-mount-volume", extra=_data(container.guid, error=str(error)))
            safe = f", errors: {error.safe}" if error.safe else ""
            raise CreationFailed(f"failed to mount volume{safe}") from error

    async def _credentials(self, container: Container) -> tuple[BindMount, ...]:
        try:
            return await self.resources.identity.prepare(container)
        except IdentityError as error:
            log.error("failed-to-create-credentials-directory", extra=_data(container.guid, error=str(error)))
            raise CreationFailed("failed to create credentials directory") from error

    async def _service_files(self, container: Container) -> list[BindMount]:
        files = container.run_info.volume_mounted_files
        if not files:
            return []
        try:
            directory = await finish(
                asyncio.to_thread(servicefiles.write, self._service_folder, container.guid, files)
            )
        except (OSError, ValueError) as error:
            log.error("failed-to-create-service-files", extra=_data(container.guid, error=str(error)))
            raise CreationFailed("failed to create volume mounted files") from error
        return [BindMount(source=directory, target=servicefiles.CONTAINER_DIR)]

    async def _create_in_engine(self, spec: ContainerSpec) -> EngineContainer:
        """Create the container; an engine that does not answer, for example in a restart, delays that."""
        guid, deadline = spec.guid, self.clock.monotonic() + ENGINE_ABSENCE_S
        attempted = False
        while True:
            try:
                if attempted:
                    await self.engine.destroy(guid)  # its creation may have succeeded without an answer
                attempted = True
                return await self.engine.create(spec, progress=lambda text: self._progress(guid, text))
            except EngineUnavailable as error:
                if self.clock.monotonic() >= deadline:
                    raise
                log.warning("creation-waits-for-engine", extra=_data(guid, error=str(error)))
                await self._await_engine(deadline)

    def _progress(self, guid: str, text: str) -> None:
        log.info("creating-container", extra=_data(guid, progress=text))
        self.observer.noted(guid, text)

    async def _await_engine(self, deadline: float) -> None:
        """Raises EngineUnavailable after the deadline."""
        while True:
            await asyncio.sleep(ENGINE_PAUSE_S)
            try:
                return await self.engine.ping()
            except EngineUnavailable:
                if self.clock.monotonic() >= deadline:
                    raise

    async def _engine_container(
        self, container: Container, spec: ContainerSpec
    ) -> tuple[EngineContainer, Create]:
        guid = container.guid
        if spec.mounts:
            await asyncio.to_thread(check_sources, spec.mounts)
        ports = tuple(dict.fromkeys(container.run_info.ports))
        mapped = ports if self.config.enable_unproxied_port_mappings else ()
        try:
            host_ports = self.network.reserve(guid, len(mapped)) if mapped else ()
            by_host_port = dict(zip(host_ports, mapped, strict=True))
            spec = replace(spec, address=self.network.address(guid))
            async with self.resources.layers.held(spec.root_fs) as unpack:
                with self.meter.timed(
                    succeeded="GardenContainerCreationSucceededDuration",
                    failed="GardenContainerCreationFailedDuration",
                ):
                    made = await self._create_in_engine(spec)
                try:
                    await unpack(made)
                    with self.meter.stages.timed(guid, "network"):
                        await self.network.attach(made, by_host_port, container.run_info.egress_rules)
                except ExecutorError:
                    await self.engine.destroy(guid)
                    raise
        except ExecutorError:
            await self.network.detach(guid)
            raise
        move = Create(
            external_ip=self.network.external_ip,
            internal_ip=made.address,
            ports=port_mappings(ports, host_ports),
            memory_limit=spec.memory_bytes,
            disk_limit=spec.disk_bytes,
            advertise_preference_for_instance_address=self.config.advertise_preference_for_instance_address,
        )
        return made, move


def container_spec(
    config: ExecutorConfig, container: Container, *, env: Env, mounts: tuple[BindMount, ...]
) -> ContainerSpec:
    """The container specification for the engine."""
    info = container.run_info
    labels = (
        {f"network.{key}": value for key, value in info.network.properties.items()} if info.network else {}
    )
    return ContainerSpec(
        guid=container.guid,
        root_fs=info.root_fs,
        image_username=info.image_username,
        image_password=info.image_password,
        privileged=info.privileged,
        env=env,
        memory_bytes=container.memory_mb * MIB,
        disk_bytes=container.disk_mb * MIB,
        max_pids=container.max_pids,
        cpu_shares=cpu_shares(config, container),
        cpu_percent=cpu_percent(config, container),
        no_new_privileges=config.container_no_new_privileges,
        mounts=mounts,
        labels=labels,
    )


def instance_env(config: ExecutorConfig, info: RunInfo, credentials: Env) -> Env:
    """The instance's own variables, weakest first. credentials: those of its identity."""
    system = tuple((CF_SYSTEM_CERT_PATH, mount.target) for mount in trusted_certificates(config, info))
    return (*info.env, *system, *credentials)


def port_mappings(ports: tuple[int, ...], host_ports: tuple[int, ...]) -> tuple[PortMapping, ...]:
    """One entry per app port, in order; host port 0 if there are no host ports."""
    hosts = host_ports or (0,) * len(ports)
    return tuple(
        PortMapping(container_port=port, host_port=host) for port, host in zip(ports, hosts, strict=True)
    )


def trusted_certificates(config: ExecutorConfig, info: RunInfo) -> tuple[BindMount, ...]:
    """The mount of the host's additional CA files; none unless cell and container both name a path."""
    source, target = config.trusted_system_certificates_path, info.trusted_system_certificates_path
    return (BindMount(source=source, target=target),) if source and target else ()


def check_privileges(config: ExecutorConfig, container: Container) -> None:
    """Reject a privileged container unless the cell allows them. Raises ExecutorError."""
    if container.run_info.privileged and not config.allow_privileged_containers:
        raise ExecutorError(
            "privileged containers are not allowed on this cell (allow_privileged_containers is false)"
        )


def check_egress(container: Container) -> None:
    """Reject invalid egress rules. Raises ExecutorError."""
    rules = container.run_info.egress_rules
    if errors := [text for rule in rules for text in validate_security_group_rule(rule)]:
        raise ExecutorError("; ".join(errors))


def check_sources(mounts: tuple[BindMount, ...]) -> None:
    """Check that all mount sources exist, because an engine may create a missing one as an empty directory.

    Raises EngineError, whose text names no path of the cell.
    """
    for mount in mounts:
        if not Path(mount.source).exists():
            log.error(
                "mount-source-missing", extra={"data": {"source": mount.source, "target": mount.target}}
            )
            raise EngineError(f"what belongs at {mount.target} is missing on the cell")


def without_sources(text: str, mounts: Sequence[BindMount]) -> str:
    """Replace host paths in ``text`` by the targets of their mounts."""
    for mount in sorted(mounts, key=lambda mount: len(mount.source), reverse=True):
        text = text.replace(mount.source, f"the source of {mount.target}")
    return text


def _data(guid: str, **more: object) -> dict[str, object]:
    return {"data": {"guid": guid, **more}}
