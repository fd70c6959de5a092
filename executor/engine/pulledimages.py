"""The images that this cell pulled, and which of them go when space is short.

Only images that were not there before the cell pulled them are the cell's to remove. What they are is written
down, so that a later life of the agent knows it. As with other agents of containers, they stay as long as
there is space: with 85 % of the engine's storage in use, those not used for the longest time go until 80 %
are in use. An earlier image of a name goes at once. The engine refuses to remove those of containers.
Blocking.
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
"""Use of the storage at which removal begins, and ends: the kubelet's."""
MIN_AGE_S = 120.0
"""s for which an image that was just pulled waits for its container."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image of the cell: its id, and when it was wanted last (s since 1970)."""

    image: str
    used: float


class PulledImages:
    """What the cell pulled, by name. path: where it is written down."""

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
        """Note that ``name`` was pulled; before: id of the image of that name before, empty for none.

        Answers what was removed to make room. Raises the SDK's errors, OSError.
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
    """Names of images not used since then, the least recently used first. Pure."""
    old = [name for name, entry in known.items() if entry.used < until]
    return sorted(old, key=lambda name: known[name].used)


def image_id(api: APIClient, name: str) -> str:
    """The id of an image, empty when there is none. Raises the SDK's errors."""
    with suppress(ImageNotFound):
        return str(api.inspect_image(name)["Id"])
    return ""


def _remove(api: APIClient, name: str) -> bool:
    """Whether an image is gone; that of a container, or one with other names too, stays."""
    try:
        api.remove_image(name)
    except APIError as error:
        if error.status_code == HTTPStatus.CONFLICT:
            return False
        if error.status_code != HTTPStatus.NOT_FOUND:
            raise
    return True


def _read(path: Path) -> dict[str, Pulled]:
    """What an earlier life wrote; nothing when it cannot be understood."""
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
