"""Common options of `cell stage` and `cell push`, and their translation."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bbs.models.workload import SecurityGroupRule
from cell.apps.blobs import Blobs
from cell.apps.packing import is_url, pack_app, pack_buildpack
from cell.apps.recipes.values import App, Asset, Buildpack
from cell.client.target import BadArguments
from cell.client.values import megabytes, variable
from cell.development.stack import STACK
from cell.examples import EXAMPLES

BUILDPACKS = EXAMPLES / "buildpacks"
USUAL_BUILDPACKS = ("script", "python", "static")
"""Buildpacks tried in this order by default."""

PASSWORD_VARIABLE = "CF_DOCKER_PASSWORD"
"""The variable of ``cf push``. A password in an argument is visible to every user of the machine."""

EVERYTHING = (SecurityGroupRule(protocol="all", destinations=("0.0.0.0-255.255.255.255",)),)
"""Egress rules of an app of a development cell."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="the app, or a .zip, .jar, .war or .tgz of it; .cfignore in it names files to leave out",
    )
    parser.add_argument(
        "--docker-image", metavar="REF", help="an image instead, such as redis or host:5000/app:v1"
    )
    parser.add_argument("-n", "--name", help="of the app (default: that of the folder or image)")
    parser.add_argument(
        "-b",
        "--buildpack",
        action="append",
        default=[],
        metavar="DIR_OR_URL",
        help="a folder with bin/, an archive, or a URL of a .zip or git; the last of several starts the app."
        " Its own files are not part of the app: what the app needs goes to the build or deps folder, and a"
        " script in profile.d adds it to PATH"
        f" (default: the first that detects the app of {', '.join(USUAL_BUILDPACKS)} in {BUILDPACKS})",
    )
    parser.add_argument("--detect", action="store_true", help="try the given buildpacks in turn")
    parser.add_argument("-s", "--stack", default=STACK, help=f"preloaded root filesystem (default: {STACK})")
    parser.add_argument(
        "-e", "--env", action="append", type=variable, default=[], metavar="NAME=VALUE", help="for the app"
    )
    parser.add_argument("-m", "--memory", type=megabytes, default=256, metavar="SIZE", help="default: 256M")
    parser.add_argument("-k", "--disk", type=megabytes, default=1024, metavar="SIZE", help="default: 1G")
    parser.add_argument(
        "--docker-username",
        default="",
        metavar="USER",
        help=f"of the image's registry; the password is in {PASSWORD_VARIABLE} or --password-file, or you are"
        " asked for it",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="with the registry's password; - for standard input",
    )
    parser.add_argument(
        "--insecure-registry",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a registry without a certificate",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--classic", action="store_true", help="in the form of mid-2015")
    form.add_argument(
        "--layers",
        action="store_true",
        help="in the form for cells that get assets by themselves: bundle, buildpacks, package and droplet"
        " are layers of the image instead of downloads",
    )


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of an image's registry; empty if it needs none."""

    username: str = ""
    password: str = field(default="", repr=False)


def credentials(args: argparse.Namespace) -> Credentials:
    """Credentials of the command line; prompts on a terminal for a missing password. Raises BadArguments."""
    if not args.docker_username:
        if args.password_file is not None:
            raise BadArguments("--password-file goes with --docker-username")
        return Credentials()
    return Credentials(args.docker_username, _password(args.password_file, args.docker_username))


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


def check(args: argparse.Namespace) -> None:
    """Raises BadArguments."""
    if (args.source is None) == (args.docker_image is None):
        raise BadArguments("give either the folder of an app or --docker-image")
    if args.docker_image is not None and (args.buildpack or args.detect):
        raise BadArguments("an image is not staged with buildpacks")


def app(args: argparse.Namespace, guid: str) -> App:
    return App(
        guid=guid or str(uuid.uuid4()),
        name=name(args),
        memory_mb=args.memory,
        disk_mb=args.disk,
        env=dict(args.env),
    )


def name(args: argparse.Namespace) -> str:
    """The name of the app."""
    if args.name:
        return str(args.name)
    if args.docker_image:
        return str(args.docker_image).rpartition("/")[2].partition("@")[0].partition(":")[0]
    return str(args.source.absolute().name.partition(".")[0])


async def package(args: argparse.Namespace, blobs: Blobs) -> Asset:
    """Upload the app's folder to the file server. Raises BadArguments, ComponentFailed."""
    with TemporaryDirectory() as folder:
        return await blobs.put("packages", pack_app(args.source, Path(folder) / "package.tgz"))


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
