"""Image references in user input, and the run settings in an image's configuration."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from cell.apps.recipes.values import APP_PORT
from cell.client.target import BadArguments

NAME = re.compile(r"[a-z0-9_\-./]{2,255}")
TAG = re.compile(r"[a-zA-Z0-9_\-.]{1,128}")
DIGEST = re.compile(r"sha256:.{64}")
ROOT = "root"


def rootfs(reference: str) -> str:
    """The rootfs URI of a reference without scheme. Raises BadArguments."""
    if "://" in reference:
        raise BadArguments(f"Docker URI [{reference}] should not contain scheme")
    host, slash, rest = reference.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "", reference
    if host in ("", "docker.io") and "/" not in rest:
        rest = f"library/{rest}"
    name, at_sign, digest = rest.partition("@")
    name, colon, tag = name.partition(":")
    if "/" in tag:
        colon, tag = "", ""
    if not NAME.fullmatch(name):
        raise BadArguments(f"Invalid image name [{name}]")
    if (colon and not TAG.fullmatch(tag)) or (at_sign and not DIGEST.fullmatch(digest)):
        raise BadArguments(f"Invalid image tag [{tag or digest}]")
    uri = f"docker://{host}/{name}"
    if not digest:
        return f"{uri}#{tag}" if tag else uri
    return f"{uri}#{tag}@{digest}" if tag else f"{uri}@{digest.replace(':', '#', 1)}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """user: ``root`` if the image has none. ports: TCP ports, at least one."""

    user: str
    ports: tuple[int, ...]

    @classmethod
    def read(cls, execution_metadata: str) -> Configuration:
        """From the docker builder's metadata. Raises BadArguments."""
        found = json.loads(execution_metadata or "{}")
        exposed = found.get("ports") or ()
        ports = tuple(each["Port"] for each in exposed if each["Protocol"] == "tcp")
        if exposed and not ports:
            raise BadArguments("No tcp ports found in image metadata")
        return cls(found.get("user") or ROOT, ports or (APP_PORT,))
