"""Common options of `cell stage` and `cell push`, and their translation."""

from __future__ import annotations

import getpass
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import click

from bbs.models.workload import SecurityGroupRule
from cell.apps import suggestions
from cell.apps.blobs import Blobs
from cell.apps.packing import is_url, pack_app, pack_buildpack
from cell.apps.recipes.values import App, Asset, Buildpack
from cell.cli import DOCUMENT, FILE, Option, take
from cell.client.target import BadArguments
from cell.client.values import megabytes, variable
from cell.development import APP_STACK
from cell.examples import EXAMPLES

T = TypeVar("T")

BUILDPACKS = EXAMPLES / "buildpacks"
USUAL_BUILDPACKS = ("script", "python", "static")
"""Buildpacks tried in this order by default."""

PASSWORD_VARIABLE = "CF_DOCKER_PASSWORD"
"""The variable of ``cf push``. A password in an argument is visible to every user of the machine."""

EVERYTHING = (SecurityGroupRule(protocol="all", destinations=("0.0.0.0-255.255.255.255",)),)
"""Egress rules of an app of a development cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The options of the app. memory, disk: MiB. classic, layers: forms of the work, else the usual one."""

    source: Path | None
    docker_image: str | None
    name: str | None
    buildpack: Sequence[str]
    detect: bool
    stack: str
    env: Sequence[tuple[str, str]]
    memory: int
    disk: int
    docker_username: str
    password_file: Path | None
    insecure_registry: Sequence[str]
    classic: bool
    layers: bool


_PARAMETERS = (
    click.argument(
        "source",
        required=False,
        type=FILE,
        metavar="[FOLDER]",
        help="the app: a folder, .zip, .jar, .war or .tgz; .cfignore in it names files to leave out",
    ),
    click.option(
        "--docker-image", metavar="REF", help="run an image instead, such as redis or host:5000/app:v1"
    ),
    click.option(
        "-n",
        "--name",
        metavar="NAME",
        shell_complete=suggestions.apps,
        help="name of the app (default: that of the folder or image)",
    ),
    click.option(
        "-b",
        "--buildpack",
        type=DOCUMENT,
        multiple=True,
        metavar="DIR_OR_URL",
        help="a folder with bin/, an archive, or a URL of a .zip or git; the last of several starts the app."
        " Its own files are not part of the app: what the app needs goes to the build or deps folder, and a"
        " script in profile.d adds it to PATH"
        f" (default: the first that detects the app of {', '.join(USUAL_BUILDPACKS)} in {BUILDPACKS})",
    ),
    click.option("--detect", is_flag=True, help="try the given buildpacks in turn"),
    click.option(
        "-s",
        "--stack",
        default=APP_STACK,
        metavar="STACK",
        help=f"preloaded root filesystem (default: {APP_STACK})",
    ),
    click.option(
        "-e", "--env", multiple=True, type=variable, metavar="NAME=VALUE", help="environment variable"
    ),
    click.option(
        "-m", "--memory", type=megabytes, default="256M", metavar="SIZE", help="memory limit (default: 256M)"
    ),
    click.option(
        "-k", "--disk", type=megabytes, default="1G", metavar="SIZE", help="disk limit (default: 1G)"
    ),
    click.option(
        "--docker-username",
        default="",
        metavar="USER",
        help=f"user of the image's registry; the password comes from {PASSWORD_VARIABLE}, --password-file or"
        " a prompt",
    ),
    click.option(
        "--password-file", type=FILE, metavar="FILE", help="registry password; - for standard input"
    ),
    click.option(
        "--insecure-registry", multiple=True, metavar="HOST:PORT", help="a registry without a certificate"
    ),
    click.option("--classic", is_flag=True, help="use the form of mid-2015"),
    click.option(
        "--layers",
        is_flag=True,
        cls=Option,
        excludes=["classic"],
        help="use the form for cells that fetch assets by themselves: bundle, buildpacks, package and droplet"
        " are layers of the image instead of downloads",
    ),
)


def options(command: Callable[..., T]) -> Callable[..., T]:
    """Add the parameters to a command function, which gets them as ``choices``."""

    @wraps(command)
    def call(*args: Any, **values: Any) -> T:
        return command(*args, choices=take(Choices, values), **values)

    for parameter in reversed(_PARAMETERS):
        parameter(call)
    return call


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of an image's registry; empty if it needs none."""

    username: str = ""
    password: str = field(default="", repr=False)


def credentials(choices: Choices) -> Credentials:
    """Credentials of the command line; prompts on a terminal for a missing password. Raises BadArguments."""
    if not choices.docker_username:
        if choices.password_file is not None:
            raise BadArguments("--password-file goes with --docker-username")
        return Credentials()
    return Credentials(choices.docker_username, _password(choices.password_file, choices.docker_username))


def _password(file: Path | None, username: str) -> str:
    if file is not None:
        try:
            text = sys.stdin.readline() if file == Path("-") else file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadArguments(f"--password-file {file} cannot be read: {_why(error)}") from error
        return text.rstrip("\r\n")
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise BadArguments(
            f"the password of {username} is missing: set {PASSWORD_VARIABLE}, or give --password-file"
        )
    return getpass.getpass(f"Password of {username}: ")


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not UTF-8"


def check(choices: Choices) -> None:
    """Raises BadArguments."""
    if (choices.source is None) == (choices.docker_image is None):
        raise BadArguments("give either the folder of an app or --docker-image")
    if choices.docker_image is not None and (choices.buildpack or choices.detect):
        raise BadArguments("an image is not staged with buildpacks")


def app_of(choices: Choices, guid: str) -> App:
    return App(
        guid=guid or str(uuid.uuid4()),
        name=name(choices),
        memory_mb=choices.memory,
        disk_mb=choices.disk,
        env=dict(choices.env),
    )


def name(choices: Choices) -> str:
    """The name of the app."""
    if choices.name:
        return choices.name
    if choices.source is not None:
        return choices.source.absolute().name.partition(".")[0]
    return (choices.docker_image or "").rpartition("/")[2].partition("@")[0].partition(":")[0]


async def package(source: Path, blobs: Blobs) -> Asset:
    """Upload the app's folder to the file server. Raises BadArguments, ComponentFailed."""
    with TemporaryDirectory() as folder:
        return await blobs.put("packages", pack_app(source, Path(folder) / "package.tgz"))


async def buildpacks(wanted: Sequence[str], blobs: Blobs) -> tuple[Buildpack, ...]:
    """Upload the requested buildpacks, or the default ones, to the file server.

    Raises BadArguments, ComponentFailed.
    """
    chosen = wanted or [str(BUILDPACKS / name) for name in USUAL_BUILDPACKS]
    return tuple([await _buildpack(text, blobs) for text in chosen])


async def _buildpack(text: str, blobs: Blobs) -> Buildpack:
    if is_url(text):
        return Buildpack(key=text)
    path = Path(text)
    with TemporaryDirectory() as folder:
        asset = await blobs.put("buildpacks", pack_buildpack(path, Path(folder) / f"{path.name}.tgz"))
    label = path.resolve().name.partition(".")[0]
    return Buildpack(key=f"{label}_{asset.sha256[:12]}", name=label, asset=asset)
