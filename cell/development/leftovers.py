"""Uploads on the file server of a `cell dev` that nothing asks for any more.

Every staging leaves a package, a droplet and a cache of build artifacts. What an LRP or Task still names
stays; everything else goes at the next start, unless somebody used it not long ago: what was staged may be
pushed by hand, and the same package may be staged again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from bbs.embedded.plane import ControlPlane
from bbs.models.codec import dumps

logger = logging.getLogger(__name__)

FOLDERS = ("packages", "buildpacks", "droplets", "buildpack_cache")
"""Where uploads are. Bundles, and what people put beside them, are not ours to remove."""

SPARED_S = 24 * 3600.0
"""Since it was uploaded."""


def unclaimed(static_dir: Path, records: Iterable[str], now_s: float) -> list[Path]:
    """Uploads that no record names. records: LRPs and Tasks as JSON. now_s: since the epoch.

    They are named by what their file is called: digests of packages and buildpacks, guids of droplets, and
    guids of apps for their caches.
    """
    text = "\n".join(records)
    return [
        path
        for folder in FOLDERS
        for path in sorted((static_dir / folder).rglob("*"))
        if path.is_file() and now_s - path.stat().st_mtime > SPARED_S and path.stem not in text
    ]


async def remove_unclaimed(plane: ControlPlane, static_dir: Path) -> list[Path]:
    """What was removed. Raises OSError."""
    store = plane.bbs.controllers.with_.store
    records = await store.run(lambda tables: list(map(dumps, [*tables.desired_lrps(), *tables.tasks()])))
    removed = unclaimed(static_dir, records, time.time())
    for path in removed:
        path.unlink(missing_ok=True)
    if removed:
        logger.info("uploads.removed", extra={"data": {"files": [str(path) for path in removed]}})
    return removed
