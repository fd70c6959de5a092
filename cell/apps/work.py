"""Staging for `cell stage` and `cell push`: from the arguments to a droplet or an image."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from cell.apps.blobs import Blobs
from cell.apps.choices import EVERYTHING, Choices, Credentials, buildpacks, package
from cell.apps.loglines import AppLog
from cell.apps.packing import procfile_trouble
from cell.apps.recipes import classic, staging
from cell.apps.recipes.values import (
    App,
    Asset,
    BuildpackStaging,
    DockerStaging,
    Staging,
)
from cell.apps.staged import StagingFailed, StagingResult
from cell.apps.stager import Stager
from cell.assembly.terminal import visible_lines
from cell.client.session import Session

PROCESS_TYPE = "web"


@dataclass(frozen=True, slots=True)
class Staged:
    """droplet: None for an image. text: the builder's result, unchanged."""

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
) -> Staged:
    """credentials: of the image's registry. Raises BadArguments, StagingFailed, BBSError, ComponentFailed."""
    guid = str(uuid.uuid4())
    stager = Stager(session.bbs, AppLog(session.target, app.guid), progress(session))
    if choices.source is None:
        what = DockerStaging(
            image=choices.docker_image or "",
            insecure_registries=tuple(choices.insecure_registry),
            username=credentials.username,
            password=credentials.password,
            password_in_environment=True,
        )
        work = _staging(choices, guid, app, blobs.lifecycle_url("docker_app_lifecycle"))
        docker = classic.docker_staging if choices.classic else staging.docker_staging
        text = await stager.run(guid, docker(work, what))
        return Staged(guid, StagingResult.read(text, PROCESS_TYPE), text, None)

    if trouble := procfile_trouble(choices.source):
        stager.show(f"Warning: {trouble}")
    folder = BuildpackStaging(
        package=await package(choices.source, blobs),
        buildpacks=await buildpacks(choices.buildpack, blobs),
        uploads=blobs.uploads(droplet_guid=guid, app_guid=app.guid, stack=choices.stack),
        skip_detect=bool(choices.buildpack) and not choices.detect,
        cache=await blobs.cache(choices.stack, app.guid),
    )
    work = _staging(choices, guid, app, blobs.lifecycle_url("buildpack_app_lifecycle"))
    buildpack = classic.buildpack_staging if choices.classic else staging.buildpack_staging
    try:
        text = await stager.run(guid, buildpack(work, folder))
    except StagingFailed as failure:
        tried = [each.name or each.key for each in folder.buildpacks]
        raise StagingFailed(failure.reason, tried) from failure
    return Staged(guid, StagingResult.read(text, PROCESS_TYPE), text, await blobs.droplet(guid))


def _staging(choices: Choices, guid: str, app: App, lifecycle_url: str) -> Staging:
    return Staging(
        guid=guid,
        app=app,
        stack=choices.stack,
        lifecycle_url=lifecycle_url,
        egress_rules=EVERYTHING,
        layers=choices.layers,
    )
