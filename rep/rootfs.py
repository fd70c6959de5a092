"""Stacks: the preloaded root filesystems of a cell, and their names in workloads.

``StackMap`` translates a workload's ``root_fs`` for the executor, and back for the cell's state. Stacks on
disk (extra tars, versions) are read once at start.
"""

from __future__ import annotations

import logging
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote_plus

from bbs.models.workload import DigestAlgorithm, ImageLayer, LayerType, MediaType

PRELOADED = "preloaded"
PRELOADED_LAYER = "preloaded+layer"
TWO_LAYER = "two-layer"
_VERSION_BYTES = 256
_UNREADABLE = (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)
"""Exceptions of the library for a broken archive."""
_VERSION_ENTRIES = ("./etc/stack-version", "/etc/stack-version")

logger = logging.getLogger(__name__)


class UnknownStack(Exception):
    """The cell does not have the preloaded root filesystem."""

    def __init__(self, root_fs: str) -> None:
        super().__init__("preloaded rootfs path not found")
        self.root_fs = root_fs


class HostPath(UnknownStack):
    """A host path that is not a stack of this cell; workloads cannot use other paths."""

    def __init__(self, root_fs: str) -> None:
        super().__init__(root_fs)
        self.args = ("rootfs is a path of the cell that is none of its stacks",)


class InvalidPreloadedRootFS(ValueError):
    """An entry of ``preloaded_root_fs`` that is not ``name:path``."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid preloaded RootFS value: {reason}")


@dataclass(frozen=True, slots=True)
class StackMap:
    """Stack name -> path (or image reference), in the order given."""

    paths: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> StackMap:
        """From ``name:path`` entries; only the first colon splits. Raises InvalidPreloadedRootFS."""
        paths: dict[str, str] = {}
        for entry in entries:
            name, colon, path = entry.partition(":")
            if not colon:
                raise InvalidPreloadedRootFS("not of the form 'stack-name:path'")
            if not name.strip():
                raise InvalidPreloadedRootFS("blank stack")
            if not path.strip():
                raise InvalidPreloadedRootFS("blank path")
            paths[name] = path
        return cls(paths)

    def with_extra(self, directory: str) -> StackMap:
        """The map plus every ``*.tar`` below ``directory`` under its base name; these override."""
        if not directory:
            return self
        return replace(self, paths={**self.paths, **_extra_tars(directory)})

    @property
    def names(self) -> list[str]:
        """All stack names."""
        return list(self.paths)

    def resolve(self, root_fs: str) -> str:
        """The root filesystem for the executor. Raises UnknownStack, HostPath."""
        if root_fs.startswith("/") and root_fs not in self.paths.values():
            raise HostPath(root_fs)
        scheme, colon, rest = root_fs.partition(":")
        if not colon or scheme not in (PRELOADED, PRELOADED_LAYER):
            return root_fs
        stack, question, query = rest.partition("?")
        path = self.paths.get(stack)
        if path is None:
            raise UnknownStack(root_fs)
        return path if scheme == PRELOADED else f"{PRELOADED_LAYER}:{path}{question}{query}"

    def describe(self, resolved: str) -> str:
        """The inverse of :meth:`resolve`, for the cell's state."""
        for stack, path in self.paths.items():
            if resolved == path:
                return f"{PRELOADED}:{stack}"
        scheme, _, rest = resolved.partition(":")
        path, question, query = rest.partition("?")
        if scheme == PRELOADED_LAYER:
            for stack, stack_path in self.paths.items():
                if path == stack_path:
                    return f"{PRELOADED_LAYER}:{stack}{question}{query}"
        return resolved


def layered(
    root_fs: str, layers: Sequence[ImageLayer], layering_mode: str
) -> tuple[str, tuple[ImageLayer, ...]]:
    """Move the first suitable layer into the root filesystem if the layering mode is two-layer."""
    if layering_mode == TWO_LAYER and root_fs.startswith(f"{PRELOADED}:"):
        for position, layer in enumerate(layers):
            if (layer.layer_type, layer.media_type, layer.digest_algorithm) == (
                LayerType.EXCLUSIVE,
                MediaType.TGZ,
                DigestAlgorithm.SHA256,
            ):
                stack = root_fs.removeprefix(f"{PRELOADED}:")
                query = (
                    f"layer={quote_plus(layer.url)}&layer_path={quote_plus(layer.destination_path)}"
                    f"&layer_digest={quote_plus(layer.digest_value)}"
                )
                return f"{PRELOADED_LAYER}:{stack}?{query}", (*layers[:position], *layers[position + 1 :])
    return root_fs, tuple(layers)


def named_with_version(stacks: StackMap) -> list[str]:
    """``name`` or ``name@version`` of each stack; the version is in the tar's ``/etc/stack-version``."""
    return [
        f"{name}@{version}" if (version := _version(path)) else name for name, path in stacks.paths.items()
    ]


def _version(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    try:
        # "r|*" reads the tar once, front to back; the entry is near the front of every real stack
        with tarfile.open(path, "r|*") as archive:
            for entry in archive:
                if entry.name in _VERSION_ENTRIES and entry.isreg():
                    content = archive.extractfile(entry)
                    return content.read(_VERSION_BYTES).decode("utf-8", "replace").strip() if content else ""
    except _UNREADABLE as error:
        logger.info("no-stack-version", extra={"data": {"path": path, "error": str(error)}})
    return ""


def _extra_tars(directory: str) -> dict[str, str]:
    found: dict[str, str] = {}

    def refuse(error: OSError) -> None:
        raise error

    try:
        for folder, subfolders, files in os.walk(directory, onerror=refuse):
            subfolders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                if path.suffix.lower() == ".tar":
                    found[path.stem] = str(path)
    except OSError as error:
        logger.error(
            "failed-to-walk-extra-rootfs-dir", extra={"data": {"directory": directory, "error": str(error)}}
        )
    return found
