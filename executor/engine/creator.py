"""Creation of a container in the engine, and its removal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, ImageNotFound, NotFound

from common.failpoints import failpoint
from executor.engine.api import ContainerSpec
from executor.engine.client import EngineClient
from executor.engine.createrequest import CellSettings, container_name, create_request
from executor.engine.faults import ImageMissing, engine_text
from executor.engine.privileged import lowering_mounts
from executor.engine.storage import DiskQuotas, DiskSpace
from executor.errors import EngineError
from executor.reasons import reason_of

REMOVAL_TIMEOUT_S = 30
"""Time limit for a removal that another engine call has begun."""


class _NoQuota(Exception):
    """The storage driver cannot limit a container's disk usage."""


class NameTaken(Exception):
    """A container with this guid exists already; it must not be removed."""


@dataclass(frozen=True, slots=True)
class ContainerCreator:
    """Creates and starts containers. io_dir: the host directory of a container's io directory, by guid."""

    client: EngineClient
    settings: CellSettings
    quotas: DiskQuotas
    io_dir: Callable[[str], Path]

    async def create(self, spec: ContainerSpec, image: str) -> dict[str, Any]:
        """Create and start a container; returns its state in the engine.

        Raises ImageMissing, NameTaken, EngineError.
        """
        space = await self.quotas.space(spec, image)
        try:
            return await self._create(spec, image, space)
        except _NoQuota as error:  # depends on a mount option, so only an attempt shows it
            self.quotas.refused(str(error))
            return await self._create(spec, image, replace(space, quota=0))

    async def _create(self, spec: ContainerSpec, image: str, space: DiskSpace) -> dict[str, Any]:
        name = container_name(self.settings, spec.guid)
        io_dir = self.io_dir(spec.guid)
        settings = self.settings
        if spec.privileged:
            lowering = await asyncio.to_thread(lowering_mounts)
            settings = replace(settings, lowering=lowering)
        request = create_request(spec, image=image, io_dir=io_dir, settings=settings, space=space)

        def job(api: APIClient) -> dict[str, Any]:
            io_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            io_dir.chmod(0o755)
            failpoint("container.create.before")
            try:
                made = str(api.create_container_from_config(request, name=name)["Id"])
            except ImageNotFound as error:
                raise ImageMissing(engine_text(error)) from error
            except APIError as error:
                if space.quota and "storage-opt" in engine_text(error):
                    raise _NoQuota(engine_text(error)) from error
                if error.status_code == 409:
                    raise NameTaken(f"create container {spec.guid}: {engine_text(error)}") from error
                raise
            failpoint("container.create.created")
            api.start(made)
            failpoint("container.create.started")
            return dict(api.inspect_container(made))

        try:
            return await self.client.call(f"create container {spec.guid}", job)
        except OSError as error:
            raise EngineError(f"create container {spec.guid}: {reason_of(error)}") from error


def remove(api: APIClient, name: str) -> None:
    """Remove a container; returns once it is gone, even if another call removes it. Raises APIError,
    RequestException.
    """
    try:
        api.remove_container(name, v=True, force=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409 or "already in progress" not in engine_text(error):
            raise
    else:
        return
    try:
        api.wait(name, timeout=REMOVAL_TIMEOUT_S, condition="removed")
    except NotFound:
        return
