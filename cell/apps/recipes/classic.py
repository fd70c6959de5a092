"""The recipes of mid-2015: bundle and buildpacks are downloaded, and there are no declarative checks.

They follow the bridge between Cloud Controller and Receptor. Buildpacks have MD5 directories, buildpack
containers are privileged, the app's command is in the launcher's metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    ResourceLimits,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from bbs.models.common import SOURCE_ID, EnvironmentVariable, MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition
from cell.apps.recipes.lrp import (
    HEALTHCHECK,
    LAUNCHER,
    SSH_ROUTE,
    SSHD,
    raw_routes,
    ssh_route,
    sshd_arguments,
)
from cell.apps.recipes.parts import (
    DOCKER_LIFECYCLE_KEY,
    LANG,
    LIMITS,
    buildpack_lifecycle_key,
    variables,
    vcap_application,
)
from cell.apps.recipes.staging import BUILDER, BUILDPACKS_DIR, flag, progress_of_uploads, uploads
from cell.apps.recipes.values import (
    APPS_DOMAIN,
    LIFECYCLE_DIR,
    RESULT_FILE,
    SSH_PORT,
    STAGING_CPU_WEIGHT,
    VCAP,
    App,
    BuildpackStaging,
    DockerStaging,
    Droplet,
    Image,
    Process,
    Staging,
)

DOCKER_LIFECYCLE_DIR = "/tmp/docker_app_lifecycle"
DOCKER_RESULT_FILE = "/tmp/docker-result/result.json"
MONITOR_TIMEOUT_MS = 30_000
HEALTH_LIMITS = ResourceLimits(nofile=1024)
MIN_MB, MAX_MB = 256, 8192


def buildpack_staging(staging: Staging, inputs: BuildpackStaging) -> TaskDefinition:
    """Package and buildpacks in, droplet and build artifacts out."""
    fetched = [buildpack for buildpack in inputs.buildpacks if buildpack.asset is not None]
    downloads: list[Action] = [
        _quiet(
            "Failed to set up staging environment",
            _bundle(staging.lifecycle_url, buildpack_lifecycle_key(staging.stack), VCAP),
        )
    ]
    for buildpack in fetched:
        if buildpack.asset is not None:
            digest = hashlib.md5(buildpack.key.encode(), usedforsecurity=False).hexdigest()
            downloads.append(
                DownloadAction(
                    artifact=buildpack.name,
                    from_=buildpack.asset.url,
                    to=f"{BUILDPACKS_DIR}/{digest}",
                    cache_key=buildpack.key,
                    user=VCAP,
                )
            )
    if inputs.cache is not None:
        cache = DownloadAction(
            artifact="build artifacts cache", from_=inputs.cache.url, to="/tmp/cache", user=VCAP
        )
        downloads.append(TryAction(action=cache))
    builder = RunAction(
        path=BUILDER,
        user=VCAP,
        args=(
            "-buildArtifactsCacheDir=/tmp/cache",
            "-buildDir=/tmp/app",
            f"-buildpackOrder={','.join(buildpack.key for buildpack in inputs.buildpacks)}",
            f"-buildpacksDir={BUILDPACKS_DIR}",
            "-outputBuildArtifactsCache=/tmp/output-cache",
            "-outputDroplet=/tmp/droplet",
            f"-outputMetadata={RESULT_FILE}",
            "-skipCertVerify=false",
            f"-skipDetect={flag(inputs.skip_detect)}",
        ),
        env=variables(_environment(staging.app, staging.memory_mb)),
        resource_limits=LIMITS,
    )
    droplet, artifacts = uploads(inputs.uploads, staging.app.guid, staging.timeout_s)
    steps = SerialAction(
        actions=(
            DownloadAction(artifact="app package", from_=inputs.package.url, to="/tmp/app", user=VCAP),
            EmitProgressAction(
                start_message=_announcement(inputs),
                success_message="Downloaded buildpacks",
                failure_message_prefix="Downloading buildpacks failed",
                action=ParallelAction(actions=tuple(downloads)),
            ),
            _staged("Staging complete", "Staging failed", builder),
            progress_of_uploads(ParallelAction(actions=(droplet, TryAction(action=artifacts)))),
        )
    )
    return _task(staging, steps, "buildpack", RESULT_FILE, STAGING_CPU_WEIGHT, LANG)


def docker_staging(staging: Staging, inputs: DockerStaging) -> TaskDefinition:
    """Read an image's configuration from its registry."""
    registries = ("-insecureDockerRegistries", ",".join(inputs.insecure_registries))
    password = () if inputs.argument is None else ("-dockerPassword", inputs.argument)
    user = ("-dockerUser", inputs.username, *password)
    builder = RunAction(
        path=f"{DOCKER_LIFECYCLE_DIR}/builder",
        user=VCAP,
        args=(
            *("-outputMetadataJSONFilename", DOCKER_RESULT_FILE, "-dockerRef", inputs.image),
            *(registries if inputs.insecure_registries else ()),
            *(user if inputs.username else ()),
        ),
        env=variables({**_environment(staging.app, staging.memory_mb), **inputs.environment}),
        resource_limits=LIMITS,
    )
    bundle = _bundle(staging.lifecycle_url, DOCKER_LIFECYCLE_KEY, VCAP, DOCKER_LIFECYCLE_DIR)
    steps = SerialAction(
        actions=(
            _quiet("Failed to set up docker environment", bundle),
            _staged("Staging Complete", "Staging Failed", builder),
        )
    )
    return _task(staging, steps, "docker", DOCKER_RESULT_FILE, 0, ())


def buildpack_lrp(process: Process, droplet: Droplet) -> DesiredLRP:
    """A droplet in the home directory of vcap, in a privileged container."""
    setup = SerialAction(
        actions=(
            _bundle(process.lifecycle_url, buildpack_lifecycle_key(droplet.stack), VCAP),
            DownloadAction(from_=droplet.asset.url, to=".", cache_key=f"droplets-{process.guid}", user=VCAP),
        )
    )
    metadata = json.dumps({"start_command": process.command}, separators=(",", ":"))
    return _lrp(
        process,
        user=VCAP,
        root_fs=f"preloaded:{droplet.stack}",
        env=LANG,
        setup=setup,
        metadata=metadata,
        limits=LIMITS,
        privileged=True,
    )


def docker_lrp(process: Process, image: Image) -> DesiredLRP:
    """An image, without credentials: the form of 2015 has none."""
    return _lrp(
        process,
        user=image.user,
        root_fs=image.rootfs,
        env=(),
        setup=SerialAction(actions=(_bundle(process.lifecycle_url, DOCKER_LIFECYCLE_KEY, image.user),)),
        metadata=process.execution_metadata,
        limits=HEALTH_LIMITS,
        privileged=False,
    )


def cpu_weight(memory_mb: int) -> int:
    """The CPU weight of an instance, by its memory."""
    clamped = min(max(memory_mb, MIN_MB), MAX_MB)
    return 99 * (clamped - MIN_MB) // (MAX_MB - MIN_MB) + 1


def _environment(app: App, memory_mb: int, process: Process | None = None) -> dict[str, str]:
    return {
        **app.env,
        "VCAP_APPLICATION": vcap_application(app, process),
        "VCAP_SERVICES": "{}",
        "MEMORY_LIMIT": f"{memory_mb}m",
    }


def _announcement(inputs: BuildpackStaging) -> str:
    """The message about the downloads; custom buildpacks by URL."""
    names = ", ".join(buildpack.name or buildpack.key for buildpack in inputs.buildpacks)
    cache = ", build artifacts cache" if inputs.cache is not None else ""
    text = f"Downloading buildpacks ({names}){cache}..."
    if inputs.skip_detect and len(inputs.buildpacks) == 1:
        return text
    first = "No buildpack specified; fetching standard buildpacks to detect and build your application."
    return f"{first}\n{text}"


def _bundle(url: str, cache_key: str, user: str, path: str = LIFECYCLE_DIR) -> DownloadAction:
    return DownloadAction(from_=url, to=path, cache_key=cache_key, user=user)


def _quiet(failure: str, action: Action) -> EmitProgressAction:
    return EmitProgressAction(failure_message_prefix=failure, action=action)


def _staged(success: str, failure: str, action: Action) -> EmitProgressAction:
    return EmitProgressAction(
        start_message="Staging...", success_message=success, failure_message_prefix=failure, action=action
    )


def _task(
    staging: Staging,
    steps: Action,
    lifecycle: str,
    result_file: str,
    weight: int,
    env: tuple[EnvironmentVariable, ...],
) -> TaskDefinition:
    return TaskDefinition(
        root_fs=f"preloaded:{staging.stack}",
        environment_variables=env,
        action=TimeoutAction(timeout_ms=staging.timeout_s * 1000, action=steps),
        disk_mb=staging.disk_mb,
        memory_mb=staging.memory_mb,
        cpu_weight=weight,
        privileged=True,
        log_source="STG",
        log_guid=staging.app.guid,
        result_file=result_file,
        completion_callback_url=staging.callback_url,
        annotation=json.dumps({"lifecycle": lifecycle}, separators=(",", ":")),
        egress_rules=staging.egress_rules,
    )


def _lrp(
    process: Process,
    *,
    user: str,
    root_fs: str,
    env: tuple[EnvironmentVariable, ...],
    setup: Action,
    metadata: str,
    limits: ResourceLimits,
    privileged: bool,
) -> DesiredLRP:
    app, port = process.app, process.ports[0]
    environment: Mapping[str, str] = {**_environment(app, app.memory_mb, process), "PORT": str(port)}
    actions: list[Action] = [
        RunAction(
            path=LAUNCHER,
            user=user,
            args=("app", process.command, metadata),
            env=variables(environment),
            resource_limits=limits,
            log_source="APP",
        )
    ]
    routes = dict(process.routes)
    if process.keys:
        routes[SSH_ROUTE] = ssh_route(process.keys, process.keys.host_md5)
        actions.append(
            RunAction(
                path=SSHD,
                user=user,
                args=sshd_arguments(process.keys),
                env=variables(environment),
                resource_limits=limits,
            )
        )
    healthcheck = RunAction(
        path=HEALTHCHECK,
        user=user,
        args=(f"-port={port}",),
        resource_limits=HEALTH_LIMITS,
        log_source="HEALTH",
    )
    checked = process.health.kind == "port"
    return DesiredLRP(
        process_guid=process.guid,
        domain=APPS_DOMAIN,
        root_fs=root_fs,
        instances=process.instances,
        environment_variables=env,
        setup=setup,
        action=CodependentAction(actions=tuple(actions)),
        monitor=TimeoutAction(timeout_ms=MONITOR_TIMEOUT_MS, action=healthcheck) if checked else None,
        start_timeout_ms=process.start_timeout_s * 1000,
        disk_mb=app.disk_mb,
        memory_mb=app.memory_mb,
        cpu_weight=cpu_weight(app.memory_mb),
        privileged=privileged,
        ports=(port, SSH_PORT) if process.keys else (port,),
        routes=raw_routes(routes),
        log_source="CELL",
        log_guid=app.guid,
        metrics_guid=app.guid,
        annotation=process.annotation,
        egress_rules=process.egress_rules,
        metric_tags={SOURCE_ID: MetricTagValue(static=app.guid)},
    )
