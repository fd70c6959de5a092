"""The ``builder`` program of buildpack apps: builds a droplet with the buildpacks that the platform names."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from common.goflags import FlagExit, FlagSet
from common.gojson import JSONError
from lifecycle import credhub
from lifecycle.buildpack import build
from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.buildpack.environment import clean, define_credhub_flags, interpolate
from lifecycle.services import set_database_url

FAILED = 1
BAD_PLATFORM_OPTIONS = 3
INTERPOLATION_FAILED = 4

STATUSES = (
    (build.NONE_DETECTED, 222),
    (build.COMPILE_FAILED, 223),
    (build.RELEASE_FAILED, 224),
    (build.SUPPLY_FAILED, 225),
    (build.NO_SUPPLY, 225),
    (build.FINALIZE_FAILED, 226),
)
"""Phrase in the last message -> exit status; the first phrase found counts."""

_PATHS = {
    "buildDir": ("/tmp/app", "directory of the app's files"),
    "outputDroplet": ("/tmp/droplet", "file to write the droplet to"),
    "outputMetadata": ("/tmp/result.json", "file to write the result to"),
    "outputBuildArtifactsCache": ("/tmp/output-cache", "file to write the build artifacts cache to"),
    "buildpacksDir": ("/tmp/buildpacks", "directory with the platform's buildpacks"),
    "buildpacksDownloadDir": ("/tmp/buildpackdownloads", "directory to download custom buildpacks to"),
    "buildArtifactsCacheDir": ("/tmp/cache", "directory of the build artifacts cache"),
}


def main(argv: list[str]) -> int:
    """Build as the flags say. The last message and the exit status name the failed phase."""
    flags = _flags()
    try:
        flags.parse(argv[1:])
    except FlagExit as ending:
        return ending.status
    missing = [f"missing flag: -{name}" for name, value in flags.strings() if not value]
    if missing:
        return _fail(", ".join(missing) + "\n", FAILED)
    try:
        interpolate(os.environ, flags)
    except credhub.PlatformOptionsError as error:
        return _fail(f"Invalid platform options: {error}", BAD_PLATFORM_OPTIONS)
    except credhub.CredHubError as error:
        return _fail(str(error), INTERPOLATION_FAILED)
    with suppress(JSONError):  # scripts get what is usable of the services; errors are not reported
        set_database_url(os.environ)
    try:
        build.Build(_settings(flags)).run()
    except BuildError as error:
        return _fail(f"{error}\n", status_of(str(error)))
    return 0


def status_of(message: str) -> int:
    """The exit status that corresponds to a last message."""
    return next((status for phrase, status in STATUSES if phrase in message), FAILED)


def _flags() -> FlagSet:
    flags = FlagSet("builder")
    for name, (default, help_text) in _PATHS.items():
        flags.string(name, default, help_text)
    flags.string("buildpackOrder", "", "comma-separated keys or URLs of buildpacks")
    flags.boolean("skipDetect", "use all buildpacks of the order, the last one to finish")
    flags.boolean("skipCertVerify", "download without checking certificates")
    define_credhub_flags(flags)
    return flags


def _settings(flags: FlagSet) -> build.Settings:
    def path(name: str) -> Path:
        return Path(clean(flags.text(name)))

    return build.Settings(
        build_dir=path("buildDir"),
        output_droplet=path("outputDroplet"),
        output_metadata=path("outputMetadata"),
        output_cache=path("outputBuildArtifactsCache"),
        buildpacks_dir=path("buildpacksDir"),
        download_dir=path("buildpacksDownloadDir"),
        cache_dir=path("buildArtifactsCacheDir"),
        order=tuple(flags.text("buildpackOrder").split(",")),
        skip_detect=flags.is_set("skipDetect"),
        skip_cert_verify=flags.is_set("skipCertVerify"),
    )


def _fail(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(message)
    return status
