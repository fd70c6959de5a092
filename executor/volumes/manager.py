"""Volume manager: discovery of drivers, mounts and unmounts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from common.metrics.families import Family
from executor.engine.api import BindMount
from executor.model import VolumeMount
from executor.telemetry.families import MOUNT_DURATION, UNMOUNT_DURATION
from executor.telemetry.meter import Meter
from executor.volumes import binds
from executor.volumes.api import Driver, VolumeError
from executor.volumes.binds import BindDriver
from executor.volumes.plugin import PluginDriver
from executor.volumes.specs import DriverSpec, find_specs

log = logging.getLogger(__name__)

DISCOVERY_INTERVAL_S = 30.0


class VolumeManager:
    """The volumes of a cell's containers.

    directories: where drivers register. allowed: host directories of the built-in driver.
    """

    def __init__(
        self,
        directories: Sequence[str],
        allowed: Sequence[str] = (),
        *,
        interval_s: float = DISCOVERY_INTERVAL_S,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self._directories = tuple(directories)
        self._interval_s = interval_s
        self._built_in: Mapping[str, Driver] = {binds.NAME: BindDriver(allowed)} if allowed else {}
        self._plugins: dict[str, PluginDriver] = {}
        self._held: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """Driver and volume id of each mounted volume, by guid."""

    @property
    def drivers(self) -> list[str]:
        """Names of the current drivers, sorted."""
        return sorted({*self._built_in, *self._plugins})

    async def start(self, kept: Mapping[str, Sequence[VolumeMount]]) -> None:
        """Discover drivers and unmount the volumes of the previous process, except those of kept containers.

        kept: the volumes of each container, by guid. A driver that is not found yet keeps them, too.
        """
        await self.discover()
        for guid, volumes in kept.items():
            self._held[guid] += [(volume.driver, volume.volume_id) for volume in volumes]
        names = {
            (driver, self._name(driver, volume_id, guid))
            for guid, held in self._held.items()
            for driver, volume_id in held
            if driver in self._built_in or driver in self._plugins
        }
        for driver in self._plugins.values():
            try:
                left = await driver.mounted()
            except VolumeError as error:
                log.error("failed-to-purge-volumes", extra=_data(driver.spec.name, error=str(error)))
                continue
            for name in left:
                if (driver.spec.name, name) in names:
                    continue
                try:
                    await driver.unmount(name)
                except VolumeError as error:
                    data = _data(driver.spec.name, volume=name, error=str(error))
                    log.error("failed-to-purge-volumes", extra=data)

    async def run(self) -> None:
        """Discover drivers periodically, until cancelled."""
        while self._directories:
            await asyncio.sleep(self._interval_s)
            try:
                await self.discover()
            except Exception:  # the next look may succeed
                log.exception("volume-drivers-not-looked-for")

    async def close(self) -> None:
        """Close the connections to the drivers."""
        for driver in self._plugins.values():
            await driver.close()
        self._plugins.clear()

    async def discover(self) -> None:
        """Update the drivers to those that are registered and responding."""
        specs = await asyncio.to_thread(find_specs, self._directories)
        for name, driver in [*self._plugins.items()]:
            if specs.get(name) != driver.spec:
                await self._drop(name)
        for spec in specs.values():
            await self._probe(spec)

    async def mount(self, guid: str, wanted: Sequence[VolumeMount]) -> tuple[BindMount, ...]:
        """Mount all volumes of a container, in order.

        Raises VolumeError; :meth:`unmount` undoes a partial mount.
        """
        return tuple([await self._mount(guid, volume) for volume in wanted])

    async def unmount(self, guid: str) -> None:
        """Unmount the volumes of a container; failures are logged. Unknown guids are ignored."""
        while held := self._held.get(guid):
            driver, volume_id = held[0]
            try:
                with self._measured("Unmount", driver, UNMOUNT_DURATION):
                    await self._driver(driver).unmount(self._name(driver, volume_id, guid))
            except VolumeError as error:
                log.error("failed-to-unmount-volume", extra=_data(guid, volume=volume_id, error=str(error)))
            held.pop(0)  # only now: a cancelled unmount is retried
        self._held.pop(guid, None)

    async def _mount(self, guid: str, volume: VolumeMount) -> BindMount:
        driver = self._driver(volume.driver)
        name = self._name(volume.driver, volume.volume_id, guid)
        try:
            with self._measured("Mount", volume.driver, MOUNT_DURATION):
                source = await driver.mount(name, volume.config)
        except asyncio.CancelledError:  # the driver may mount it nevertheless
            self._held[guid].append((volume.driver, volume.volume_id))
            raise
        self._held[guid].append((volume.driver, volume.volume_id))
        return BindMount(source=source, target=volume.container_dir, read_only=volume.read_only)

    @contextmanager
    def _measured(self, what: str, driver: str, family: Family) -> Iterator[None]:
        """Measure the block, as the volume manager of Diego does: the durations of success only."""
        begun = time.monotonic()
        try:
            with self._meter.instruments.timed(family, driver):
                yield
        except VolumeError:
            self._meter.count(f"Volman{what}Errors")
            raise
        seconds = time.monotonic() - begun
        self._meter.duration(f"Volman{what}Duration", seconds)
        self._meter.duration(f"Volman{what}DurationFor{driver}", seconds)

    def _name(self, driver: str, volume_id: str, guid: str) -> str:
        """The driver's name of a container's volume. Raises VolumeError for an unknown driver."""
        return unique_name(volume_id, guid) if self._driver(driver).unique_volume_ids else volume_id

    def _driver(self, name: str) -> Driver:
        driver = self._built_in.get(name) or self._plugins.get(name)
        if driver is None:
            raise VolumeError(f"Plugin '{name}' not found in list of known plugins")
        return driver

    async def _probe(self, spec: DriverSpec) -> None:
        known = self._plugins.get(spec.name)
        try:
            driver = known or PluginDriver(spec)
        except VolumeError as error:
            log.error("volume-driver-unusable", extra=_data(spec.name, error=str(error)))
            return
        try:
            await driver.activate()
        except Exception as error:  # one driver must not affect the others
            trace = None if isinstance(error, VolumeError) else error
            log.error(
                "volume-driver-does-not-answer", exc_info=trace, extra=_data(spec.name, error=str(error))
            )
            self._plugins.pop(spec.name, None)
            await driver.close()
            return
        if known is None:
            log.info("volume-driver-found", extra=_data(spec.name, url=spec.url, socket=spec.socket))
            self._plugins[spec.name] = driver

    async def _drop(self, name: str) -> None:
        log.info("volume-driver-gone", extra=_data(name))
        await self._plugins.pop(name).close()


def unique_name(volume_id: str, guid: str) -> str:
    """A unique name for one container's use of a volume; both parts can be recovered from it."""
    return f"{volume_id.replace('_', '=')}_{guid.replace('_', '=')}"


def _data(subject: str, **more: object) -> dict[str, object]:
    return {"data": {"subject": subject, **more}}
