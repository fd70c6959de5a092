"""Record of the images that this cell pulled, and their removal when space is short.

The cell removes only images that were absent before it pulled them. The record is a file, so that it
survives restarts. Images stay as long as there is space, as with the kubelet: at 85 % use of the engine's
storage, the least recently used are removed until the use is 80 %. The previous image of a name is removed
immediately. The engine refuses to remove images of containers. Blocks.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import psutil
from docker import APIClient
from docker.errors import APIError, ImageNotFound

logger = logging.getLogger(__name__)

HIGH_PERCENT, LOW_PERCENT = 85.0, 80.0
"""Storage use at which removal begins, and ends: the kubelet's defaults."""
MIN_AGE_S = 120.0
"""Seconds for which a pulled image is protected, until its container exists."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image of the cell: its id, and its last use (s since 1970)."""

    image: str
    used: float


class PulledImages:
    """The cell's pulled images, by name. path: file of the record."""

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        used_percent: Callable[[str], float] = lambda root: float(psutil.disk_usage(root).percent),
    ) -> None:
        self._path = path
        self._now = now
        self._used_percent = used_percent
        self._known = _read(path)

    def pulled(self, api: APIClient, name: str, before: str) -> list[str]:
        """Record that ``name`` was pulled; before: the previous image id of that name, empty for none.

        Returns the images removed to free space. Raises the SDK's errors, OSError.
        """
        image = image_id(api, name)
        ours = not before or name in self._known
        if ours:
            self._known[name] = Pulled(image, self._now())
        removed = []
        if before != image:
            if ours and before and _remove(api, before):
                removed.append(before)
            removed += self._make_room(api)
        if ours or removed:
            self._write()
        return removed

    def _make_room(self, api: APIClient) -> list[str]:
        root = str(api.info()["DockerRootDir"])
        if self._used_percent(root) < HIGH_PERCENT:
            return []
        return [*self._removals(api, root)]

    def _removals(self, api: APIClient, root: str) -> Iterator[str]:
        for name in least_recent(self._known, self._now() - MIN_AGE_S):
            if _remove(api, name):
                del self._known[name]
                yield name
                if self._used_percent(root) < LOW_PERCENT:
                    return

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temp = self._path.with_suffix(".new")
        content = json.dumps({name: asdict(entry) for name, entry in self._known.items()})
        with open(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(content)
        temp.rename(self._path)


def least_recent(known: Mapping[str, Pulled], until: float) -> list[str]:
    """Names of images not used since ``until``, least recently used first. Pure."""
    old = [name for name, entry in known.items() if entry.used < until]
    return sorted(old, key=lambda name: known[name].used)


def image_id(api: APIClient, name: str) -> str:
    """The id of an image, empty if there is none. Raises the SDK's errors."""
    with suppress(ImageNotFound):
        return str(api.inspect_image(name)["Id"])
    return ""


def _remove(api: APIClient, name: str) -> bool:
    """Remove an image, unless it has a container or further names; return whether it is gone."""
    try:
        api.remove_image(name)
    except APIError as error:
        if error.status_code == HTTPStatus.CONFLICT:
            return False
        if error.status_code != HTTPStatus.NOT_FOUND:
            raise
    return True


def _read(path: Path) -> dict[str, Pulled]:
    """The record of previous processes; empty if it is invalid."""
    try:
        entries = json.loads(path.read_bytes())
        return {
            str(name): Pulled(str(entry["image"]), float(entry["used"])) for name, entry in entries.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("pulled-images-unreadable", extra={"data": {"error": str(error)}})
        return {}
