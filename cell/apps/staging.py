"""Staging for `cell stage` and `cell push`: a staging Task makes a droplet, or reads an image."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bbs.client.api import BBSClient
from bbs.models.errors import BBSError
from bbs.models.task import Task, TaskDefinition, TaskState
from cell.apps.blobs import Blobs
from cell.apps.choices import EVERYTHING, Choices, Credentials, buildpacks, package
from cell.apps.loglines import AppLog, Line
from cell.apps.packing import procfile_error
from cell.apps.recipes import classic
from cell.apps.recipes import staging as recipes
from cell.apps.recipes.values import (
    STAGING_DOMAIN,
    App,
    Asset,
    BuildpackStaging,
    DockerStaging,
    Staging,
)
from cell.apps.stagingresult import StagingFailed, StagingResult
from cell.assembly.terminal import visible_lines
from cell.client.session import Session

PROCESS_TYPE = "web"
POLLING_INTERVAL_S = 0.1
LOG_SOURCE = "STG"


@dataclass(frozen=True, slots=True)
class StagedApp:
    """The result of a staging. droplet: None for an image. text: the builder's result, unchanged."""

    guid: str
    result: StagingResult
    text: str
    droplet: Asset | None


def progress(session: Session) -> Callable[[str], None]:
    """The output of progress lines, separate from JSON results."""

    def show(text: str) -> None:
        print(visible_lines(text), file=sys.stdout if session.output.for_people else sys.stderr, flush=True)

    return show


async def stage(
    choices: Choices, session: Session, blobs: Blobs, app: App, credentials: Credentials
) -> StagedApp:
    """Stage an app. credentials: of the image's registry.

    Raises BadArguments, StagingFailed, BBSError, ComponentFailed.
    """
    guid = str(uuid.uuid4())
    stager = Stager(session.bbs, AppLog(session.target, app.guid), progress(session))
    if choices.source is None:
        image = DockerStaging(
            image=choices.docker_image or "",
            insecure_registries=tuple(choices.insecure_registry),
            username=credentials.username,
            password=credentials.password,
            password_in_environment=True,
        )
        common = _staging(choices, guid, app, blobs.lifecycle_url("docker_app_lifecycle"))
        docker = classic.docker_staging if choices.classic else recipes.docker_staging
        text = await stager.run(guid, docker(common, image))
        return StagedApp(guid, StagingResult.read(text, PROCESS_TYPE), text, None)

    if trouble := procfile_error(choices.source):
        stager.show(f"Warning: {trouble}")
    inputs = BuildpackStaging(
        package=await package(choices.source, blobs),
        buildpacks=await buildpacks(choices.buildpack, blobs),
        uploads=blobs.uploads(droplet_guid=guid, app_guid=app.guid, stack=choices.stack),
        skip_detect=bool(choices.buildpack) and not choices.detect,
        cache=await blobs.cache(choices.stack, app.guid),
    )
    common = _staging(choices, guid, app, blobs.lifecycle_url("buildpack_app_lifecycle"))
    buildpack = classic.buildpack_staging if choices.classic else recipes.buildpack_staging
    try:
        text = await stager.run(guid, buildpack(common, inputs))
    except StagingFailed as failure:
        tried = [each.name or each.key for each in inputs.buildpacks]
        raise StagingFailed(failure.reason, tried) from failure
    return StagedApp(guid, StagingResult.read(text, PROCESS_TYPE), text, await blobs.droplet(guid))


def _staging(choices: Choices, guid: str, app: App, lifecycle_url: str) -> Staging:
    return Staging(
        guid=guid,
        app=app,
        stack=choices.stack,
        lifecycle_url=lifecycle_url,
        egress_rules=EVERYTHING,
        layers=choices.layers,
    )


@dataclass(frozen=True, slots=True)
class Stager:
    """Runs staging Tasks. log: of the app. show: called with each line for people."""

    bbs: BBSClient
    log: AppLog
    show: Callable[[str], None]

    async def run(self, guid: str, definition: TaskDefinition) -> str:
        """The result of the Task. Raises StagingFailed, BBSError, ComponentFailed."""
        printer = _LinePrinter(self.show)
        async with self.log.following() as lines, asyncio.TaskGroup() as group:
            printing = group.create_task(printer.print_all(lines))
            try:
                await self.bbs.desire_task(guid, STAGING_DOMAIN, definition)
                task = await self._completed(guid)
            finally:
                printing.cancel()
        for line in await self.log.recent():
            printer.print_line(line)
        if task.failed:
            raise StagingFailed(task.failure_reason)
        return task.result

    async def _completed(self, guid: str) -> Task:
        try:
            task = await self.bbs.task(guid)
            while task.state is not TaskState.Completed:
                await asyncio.sleep(POLLING_INTERVAL_S)
                task = await self.bbs.task(guid)
        except asyncio.CancelledError:
            await self._give_up(guid)
            raise
        await self.bbs.resolving_task(guid)
        await self.bbs.delete_task(guid)
        return task

    async def _give_up(self, guid: str) -> None:
        """Delete the Task after an interruption. A cancelled Task is Completed at once."""
        try:
            await self.bbs.cancel_task(guid)
            await self.bbs.resolving_task(guid)
            await self.bbs.delete_task(guid)
        except BBSError as error:
            self.show(f"staging task {guid} could not be deleted: {error}")


class _LinePrinter:
    """Shows each line of this staging once, although it can arrive both live and in the recent lines."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._began_ns = time.time_ns()
        self._printed: set[Line] = set()

    async def print_all(self, lines: AsyncIterator[Line]) -> None:
        async for line in lines:
            self.print_line(line)

    def print_line(self, line: Line) -> None:
        ours = line.source_type == LOG_SOURCE and line.time_ns >= self._began_ns
        if ours and line not in self._printed:
            self._printed.add(line)
            self._show(f"   {line.message}")
