"""Root file systems: resolves a rootfs URI to an image of the engine."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.auth import encode_header, get_config_header, resolve_repository_name
from docker.errors import APIError, ImageNotFound

from common.gotext import format_size
from executor.engine.client import EngineClient
from executor.engine.faults import for_owners
from executor.engine.pulledimages import PulledImages, image_id
from executor.engine.singleflight import SingleFlight
from executor.engine.streams import Streams
from executor.errors import EngineError, EngineUnavailable, ImageError
from executor.reasons import reason_of

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]

HUB = "docker.io"
IMPORTED = "diego-cell/rootfs"
"""Repository of imported archives; the tag is a digest of path, size and modification time."""
LABEL_PATH = "org.cloudfoundry.diego.rootfs"
"""Label of an imported image: the path of its archive."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_LENGTH_MOST = 255
"""Valid image names, by the grammar of the engine's references. The engine's URLs contain these names, so
invalid ones are rejected here.
"""

_UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|network is unreachable|no route to host|"
    r"TLS handshake timeout|Client\.Timeout exceeded|request canceled|server misbehaving|: EOF$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A name in a registry. digest: ``sha256:...``; takes precedence over the tag."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository in the engine's format; the Hub is left out."""
        return self.repository if self.registry == HUB else f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A ``docker:`` rootfs: resolved at its registry on every creation."""

    ref: ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """An image reference of a preloaded stack: the engine's local image is used."""

    ref: ImageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A tar archive or a directory on the host."""

    path: str


RootSource = Pulled | Local | Archive


def parse_root_fs(root_fs: str) -> RootSource:
    """Parse a rootfs URI or the path of a preloaded stack. Raises ImageError."""
    if root_fs.startswith("preloaded+layer:"):
        # The caller unpacks the layer into the container.
        return parse_root_fs(root_fs.removeprefix("preloaded+layer:").partition("?")[0])
    if root_fs.startswith("preloaded:"):
        return parse_root_fs(root_fs.removeprefix("preloaded:"))
    if root_fs.startswith("docker:"):
        rest = root_fs.removeprefix("docker:").replace("#", ":", 1)
        if not rest.startswith("//"):
            raise ImageError(f"rootfs {root_fs!r}: a docker URI has the form docker://[host]/path[#tag]")
        host, slash, path = rest.removeprefix("//").partition("/")
        if not slash:
            raise ImageError(f"rootfs {root_fs!r}: no image path")
        return Pulled(ref=_image_ref(host, path, root_fs))
    if root_fs.startswith("/"):
        return Archive(path=root_fs)
    if not root_fs or "://" in root_fs or root_fs.startswith("raw:"):
        raise ImageError(f"rootfs {root_fs!r}: neither a docker URI, an archive nor an image reference")
    first, slash, rest = root_fs.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return Local(ref=_image_ref(first, rest, root_fs))
    return Local(ref=_image_ref("", root_fs, root_fs, library=False))


def _image_ref(host: str, path: str, root_fs: str, *, library: bool = True) -> ImageRef:
    registry = HUB if host in ("", HUB, "registry-1.docker.io", "index.docker.io") else host
    name, _, digest = path.partition("@")
    # "repo@sha256#hex" arrives as "repo@sha256:hex"
    repository, _, tag = name.partition(":")
    if registry == HUB and repository and "/" not in repository and library:
        repository = f"library/{repository}"
    ref = ImageRef(registry=registry, repository=repository, tag=tag or "latest", digest=digest)
    if not _is_valid(ref):
        raise ImageError(f"rootfs {root_fs!r}: invalid image reference {path!r}")
    return ref


def _is_valid(ref: ImageRef) -> bool:
    return (
        _REGISTRY.fullmatch(ref.registry) is not None
        and _REPOSITORY.fullmatch(ref.repository) is not None
        and _TAG.fullmatch(ref.tag) is not None
        and (not ref.digest or _DIGEST.fullmatch(ref.digest) is not None)
        and len(ref.name) <= _NAME_LENGTH_MOST
    )


PROGRESS_INTERVAL_S = 1.0
"""Minimum time between two progress messages of one pull."""


class PullProgress:
    """Sums up the engine's progress reports of one pull's layers. ``now``: monotonic s."""

    def __init__(self, image: str, now: float) -> None:
        self._image = image
        self._reported_at = now
        self._layers: dict[str, tuple[int, int]] = {}

    def news(self, line: Mapping[str, Any], now: float) -> str:
        """A progress message if one is due, else an empty text."""
        detail = line.get("progressDetail") or {}
        if line.get("status") == "Downloading" and "total" in detail:
            self._layers[line["id"]] = (detail.get("current", 0), detail["total"])
        elif line.get("status") == "Download complete" and line.get("id") in self._layers:
            total = self._layers[line["id"]][1]
            self._layers[line["id"]] = (total, total)
        if not self._layers or now - self._reported_at < PROGRESS_INTERVAL_S:
            return ""
        self._reported_at = now
        done, total = (sum(part) for part in zip(*self._layers.values(), strict=True))
        return f"pulling image {self._image}: {format_size(done)} of {format_size(total)}"


def registry_auth(api: APIClient, name: str, auth: Mapping[str, str] | None) -> dict[str, str]:
    """The engine's authentication header for the registry of ``name``.

    Without ``auth``, uses the configuration of the Docker client. May run a credential helper: blocks.
    """
    registry, _ = resolve_repository_name(name)
    header = encode_header(auth) if auth is not None else get_config_header(api, registry)
    return {"X-Registry-Auth": header.decode("ascii")} if header else {}


class Images:
    """Provides images; concurrent equal requests share one pull or import."""

    def __init__(self, client: EngineClient, streams: Streams, pulled: PulledImages) -> None:
        """pulled: records which images the cell may remove."""
        self._client = client
        self._pulled = pulled
        self._streams = streams
        self._flights: SingleFlight[tuple[str, ...], str] = SingleFlight()
        self._imported: dict[str, str] = {}

    async def get(
        self, root_fs: str, username: str, password: str, progress: Progress, *, missing: str = ""
    ) -> str:
        """The engine's name of the image for ``root_fs``. Raises ImageError or EngineUnavailable.

        Images of preloaded stacks are not checked each time. If container creation reports a missing
        image, call again with that name as ``missing``.
        """
        source = parse_root_fs(root_fs)
        match source:
            case Archive(path=path):
                tag = _archive_tag(path)
                name = f"{IMPORTED}:{tag}"
                if self._imported.get(path) != name or missing == name:
                    await self._flights.run(
                        ("import", name), lambda report: self._import(path, tag, report), progress
                    )
                    self._imported[path] = name
                return name
            case Local(ref=ref) if missing != str(ref):
                return str(ref)
            case Local(ref=ref) | Pulled(ref=ref):
                key = ("pull", str(ref), username, hashlib.sha256(password.encode()).hexdigest())
                pull = self._pull if isinstance(source, Local) else self._pull_and_note
                return await self._flights.run(
                    key, lambda report: pull(ref, username, password, report), progress
                )

    async def _pull_and_note(self, ref: ImageRef, username: str, password: str, progress: Progress) -> str:
        """Pull an app's image, and remove unused images if space is short."""
        name = str(ref)
        before = await self._client.call(f"inspect image {name}", lambda api: image_id(api, name))
        await self._pull(ref, username, password, progress)
        try:
            removed = await self._client.call(
                f"note image {name}", lambda api: self._pulled.pulled(api, name, before)
            )
        except (EngineError, OSError) as error:
            logger.error("pulled-image-not-noted", extra={"data": {"image": name, "error": str(error)}})
        else:
            if removed:
                logger.info("unused-images-removed", extra={"data": {"images": removed}})
        return name

    async def _pull(self, ref: ImageRef, username: str, password: str, progress: Progress) -> str:
        progress(f"pulling image {ref}")
        auth = {"username": username, "password": password} if username else None
        asked = f"pull image {ref}"
        header = await self._client.call(asked, lambda api: registry_auth(api, ref.name, auth))
        params = {"fromImage": ref.name, "tag": ref.digest or ref.tag}
        transfer, reason = PullProgress(str(ref), time.monotonic()), None
        try:
            async with self._streams.progress_of(asked, "/images/create", params, header) as lines:
                async for line in lines:
                    reason = line.get("error", reason)
                    if text := transfer.news(line, time.monotonic()):
                        progress(text)
        except EngineUnavailable:
            raise
        except EngineError as error:
            reason = str(error).removeprefix(f"{asked}: ")
        if reason is None:
            return str(ref)
        if _UNREACHABLE.search(reason) and await self._present(str(ref)):
            logger.warning(
                "registry-unreachable-using-local-image", extra={"data": {"image": str(ref), "error": reason}}
            )
            return str(ref)
        raise ImageError(
            f"failed to pull image {ref.repository}:{ref.tag} from registry {ref.registry}: {reason}"
        )

    async def _present(self, name: str) -> bool:
        def look(api: APIClient) -> bool:
            try:
                api.inspect_image(name)
            except ImageNotFound:
                return False
            return True

        return await self._client.call(f"inspect image {name}", look)

    async def _import(self, path: str, tag: str, progress: Progress) -> str:
        name = f"{IMPORTED}:{tag}"
        if not await self._present(name):
            progress(f"importing rootfs {path}")
            await self._client.call(
                f"import rootfs {Path(path).name}", lambda api: import_rootfs(api, Path(path), IMPORTED, tag)
            )
            removed = await self._client.call(
                f"remove what was {path}", lambda api: remove_superseded(api, path, name)
            )
            if removed:
                logger.info("superseded-rootfs-removed", extra={"data": {"path": path, "images": removed}})
        return name


def _archive_tag(path: str) -> str:
    """Digest of path, size and modification time: a changed file at the same path gives another image."""
    try:
        status = os.stat(path)
    except OSError as error:
        logger.error("rootfs-unreadable", extra={"data": {"path": path, "error": str(error)}})
        raise ImageError(f"preloaded rootfs {Path(path).name}: {reason_of(error)}") from error
    identity = f"{path}\0{status.st_mtime_ns}\0{status.st_size}"
    return hashlib.sha256(identity.encode()).hexdigest()[:20]


def remove_superseded(api: APIClient, path: str, name: str) -> list[str]:
    """Remove earlier images of the archive at ``path`` (other than ``name``) and images of deleted archives.

    The engine refuses to remove images of containers, running or not. Blocks. Raises the SDK's errors.
    """
    outdated = [
        tag
        for image in api.images(IMPORTED)
        for tag in image["RepoTags"] or ()
        if tag != name
        and (made_of := (image["Labels"] or {}).get(LABEL_PATH))
        and (made_of == path or not os.path.exists(made_of))
    ]
    return remove_unused(api, outdated)


def remove_unused(api: APIClient, tags: Iterable[str]) -> list[str]:
    """Remove images by tag, except those of containers; return the removed tags. Raises the SDK's errors."""
    removed = []
    for tag in sorted(tags):
        try:
            api.remove_image(tag)
        except APIError as error:
            if error.status_code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
        else:
            removed.append(tag)
    return removed


def import_rootfs(api: APIClient, path: Path, repository: str, tag: str) -> None:
    """Create an image from a tar archive or a directory. Blocks. Raises ImageError or the SDK's errors."""
    label = [f"LABEL {LABEL_PATH}={json.dumps(str(path))}"]
    if path.is_dir():
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(path, arcname=".")
            packed.seek(0)
            answer = api.import_image_from_data(packed, repository=repository, tag=tag, changes=label)
    else:
        answer = api.import_image_from_file(str(path), repository=repository, tag=tag, changes=label)
    if reason := _import_error(answer):
        logger.error("rootfs-not-imported", extra={"data": {"path": str(path), "answer": answer}})
        raise ImageError(f"rootfs {path.name} cannot be imported: {for_owners(reason)}")


def _import_error(answer: str) -> str:
    """The error in the engine's line-by-line answer to an import; empty on success."""
    for line in answer.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("error"):
            return str(message["error"])
    return ""
