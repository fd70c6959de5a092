"""Staging Tasks: buildpacks build a droplet from a package; docker staging reads an image's configuration."""

from __future__ import annotations

from urllib.parse import quote

from bbs.models.actions import (
    Action,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from bbs.models.common import EnvironmentVariable
from bbs.models.task import TaskDefinition
from bbs.models.workload import CachedDependency, ImageLayer
from cell.apps.recipes.parts import (
    DOCKER_LIFECYCLE_KEY,
    LANG,
    LIMITS,
    UNLIMITED_LOGS,
    app_environment,
    buildpack_lifecycle_key,
    certificate_properties,
    exclusive_layer,
    lifecycle_dependency,
    lifecycle_layer,
    metric_tags,
    network,
    shared_layer,
    variables,
)
from cell.apps.recipes.values import (
    APP_PORT,
    LIFECYCLE_DIR,
    MAX_PIDS,
    RESULT_FILE,
    STAGING_CPU_WEIGHT,
    TRUSTED_CERTIFICATES,
    VCAP,
    Asset,
    Buildpack,
    BuildpackStaging,
    DockerStaging,
    Staging,
    Uploads,
)
from lifecycle.buildpack.xxh64 import xxh64

BUILDER = f"{LIFECYCLE_DIR}/builder"
BUILDPACKS_DIR = "/tmp/buildpacks"
APP_DIR = "/tmp/app"
CACHE_DIR = "/tmp/cache"


def buildpack_staging(staging: Staging, inputs: BuildpackStaging) -> TaskDefinition:
    """Package and buildpacks in, droplet and build artifacts out."""
    builder = RunAction(
        path=BUILDER,
        user=VCAP,
        args=(
            f"-buildpackOrder={','.join(buildpack.key for buildpack in inputs.buildpacks)}",
            "-skipCertVerify=false",
            f"-skipDetect={flag(inputs.skip_detect)}",
            f"-buildDir={APP_DIR}",
            "-outputDroplet=/tmp/droplet",
            f"-outputMetadata={RESULT_FILE}",
            "-outputBuildArtifactsCache=/tmp/output-cache",
            f"-buildpacksDir={BUILDPACKS_DIR}",
            f"-buildArtifactsCacheDir={CACHE_DIR}",
        ),
        env=variables(_environment(staging)),
        resource_limits=LIMITS,
    )
    downloads = () if staging.layers else (ParallelAction(actions=_downloads(inputs)),)
    results = ParallelAction(actions=uploads(inputs.uploads, staging.guid, staging.timeout_s))
    steps = SerialAction(actions=(*downloads, builder, progress_of_uploads(results)))
    lifecycle = buildpack_lifecycle_key(staging.stack)
    return _definition(
        staging,
        action=TimeoutAction(timeout_ms=staging.timeout_s * 1000, action=steps),
        env=LANG,
        lifecycle=lifecycle,
        buildpacks=_placed(inputs.buildpacks),
        layers=_layers(inputs),
    )


def docker_staging(staging: Staging, inputs: DockerStaging) -> TaskDefinition:
    """Read an image's configuration from its registry."""
    args = [f"-outputMetadataJSONFilename={RESULT_FILE}", f"-dockerRef={inputs.image}"]
    if inputs.insecure_registries:
        args.append(f"-insecureDockerRegistries={','.join(inputs.insecure_registries)}")
    if inputs.username:
        args.append(f"-dockerUser={inputs.username}")
    if inputs.argument is not None:
        args.append(f"-dockerPassword={inputs.argument}")
    builder = RunAction(
        path=BUILDER,
        user=VCAP,
        args=tuple(args),
        env=variables({**app_environment(staging.app, staging.memory_mb), **inputs.environment}),
        resource_limits=LIMITS,
    )
    progress = EmitProgressAction(
        start_message="Staging...",
        success_message="Staging Complete",
        failure_message_prefix="Staging Failed",
        action=builder,
    )
    return _definition(
        staging,
        action=TimeoutAction(timeout_ms=staging.timeout_s * 1000, action=progress),
        env=(),
        lifecycle=DOCKER_LIFECYCLE_KEY,
        image_username=inputs.username,
        image_password=inputs.password,
    )


def flag(value: bool) -> str:
    """The flag format of the in-container programs."""
    return "true" if value else "false"


def progress_of_uploads(action: Action) -> EmitProgressAction:
    return EmitProgressAction(
        start_message="Uploading droplet, build artifacts cache...",
        success_message="Uploading complete",
        failure_message_prefix="Uploading failed",
        action=action,
    )


def uploads(targets: Uploads, guid: str, timeout_s: int) -> tuple[UploadAction, UploadAction]:
    """Upload droplet and build artifacts through the uploader. guid: part of its path, for people only."""

    def upload(artifact: str, path: str, route: str, parameter: str, uri: str) -> UploadAction:
        query = f"{parameter}={quote(uri, safe='')}&timeout={timeout_s}"
        return UploadAction(
            artifact=artifact, from_=path, to=f"{targets.uploader}/v1/{route}/{guid}?{query}", user=VCAP
        )

    return (
        upload("droplet", "/tmp/droplet", "droplet", "cc-droplet-upload-uri", targets.droplet_uri),
        upload(
            "build artifacts cache",
            "/tmp/output-cache",
            "build_artifacts",
            "cc-build-artifacts-upload-uri",
            targets.cache_uri,
        ),
    )


def _downloads(inputs: BuildpackStaging) -> tuple[Action, ...]:
    def download(artifact: str, asset: Asset, path: str) -> DownloadAction:
        return DownloadAction(
            artifact=artifact,
            from_=asset.url,
            to=path,
            user=VCAP,
            checksum_algorithm="sha256",
            checksum_value=asset.sha256,
        )

    package = download("app package", inputs.package, APP_DIR)
    if inputs.cache is None:
        return (package,)
    return package, TryAction(action=download("build artifacts cache", inputs.cache, CACHE_DIR))


def _placed(buildpacks: tuple[Buildpack, ...]) -> tuple[CachedDependency, ...]:
    """The buildpacks placed for the builder; it downloads the others itself."""
    return tuple(
        CachedDependency(
            name=buildpack.name,
            from_=buildpack.asset.url,
            to=_place(buildpack),
            cache_key=buildpack.key,
            checksum_algorithm="sha256" if buildpack.asset.sha256 else "",
            checksum_value=buildpack.asset.sha256,
        )
        for buildpack in buildpacks
        if buildpack.asset is not None
    )


def _layers(inputs: BuildpackStaging) -> tuple[ImageLayer, ...]:
    """Package, build artifacts and buildpacks as layers."""
    layers = [exclusive_layer("app package", inputs.package, APP_DIR)]
    if inputs.cache is not None:
        layers.append(exclusive_layer("build artifacts cache", inputs.cache, CACHE_DIR))
    layers += [
        shared_layer(buildpack.name, buildpack.asset, _place(buildpack))
        for buildpack in inputs.buildpacks
        if buildpack.asset is not None
    ]
    return tuple(layers)


def _place(buildpack: Buildpack) -> str:
    """The builder's path of a buildpack."""
    return f"{BUILDPACKS_DIR}/{xxh64(buildpack.key.encode())}"


def _environment(staging: Staging) -> dict[str, str]:
    env = {"CF_STACK": staging.stack, **app_environment(staging.app, staging.memory_mb)}
    if staging.platform_options:
        env["VCAP_PLATFORM_OPTIONS"] = staging.platform_options
    return env


def _definition(
    staging: Staging,
    *,
    action: Action,
    env: tuple[EnvironmentVariable, ...],
    lifecycle: str,
    buildpacks: tuple[CachedDependency, ...] = (),
    layers: tuple[ImageLayer, ...] = (),
    image_username: str = "",
    image_password: str = "",
) -> TaskDefinition:
    """lifecycle: name of the bundle. buildpacks or layers: further downloads, in either form."""
    dependencies: tuple[CachedDependency, ...] = ()
    declared: tuple[ImageLayer, ...] = ()
    if staging.layers:
        declared = (lifecycle_layer(staging.lifecycle_url, lifecycle), *layers)
    else:
        dependencies = (lifecycle_dependency(staging.lifecycle_url, lifecycle), *buildpacks)
    return TaskDefinition(
        root_fs=f"preloaded:{staging.stack}",
        environment_variables=env,
        action=action,
        disk_mb=staging.disk_mb,
        memory_mb=staging.memory_mb,
        cpu_weight=STAGING_CPU_WEIGHT,
        log_source="STG",
        log_guid=staging.app.guid,
        result_file=RESULT_FILE,
        completion_callback_url=staging.callback_url,
        egress_rules=staging.egress_rules,
        cached_dependencies=dependencies,
        image_layers=declared,
        legacy_download_user=VCAP,
        trusted_system_certificates_path=TRUSTED_CERTIFICATES,
        network=network(staging.app, (APP_PORT,), "staging"),
        max_pids=MAX_PIDS,
        certificate_properties=certificate_properties(staging.app),
        image_username=image_username,
        image_password=image_password,
        log_rate_limit=UNLIMITED_LOGS,
        metric_tags=metric_tags(staging.app),
    )
