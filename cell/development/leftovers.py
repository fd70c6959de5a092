"""Removal of unused uploads on the file server of `cell dev`.

Every staging leaves a package, a droplet and a cache of build artifacts. Uploads named by an LRP or Task
stay. Others are removed at the next start, unless they are recent: a droplet may be pushed by hand, and a
package may be staged again.
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
"""Folders of uploads. Bundles, and files that users add next to them, are not removed."""

MIN_AGE_S = 24 * 3600.0
"""Minimum age in seconds of a removed upload."""


def unclaimed(static_dir: Path, records: Iterable[str], now_s: float) -> list[Path]:
    """Uploads that no record names. records: LRPs and Tasks as JSON. now_s: since the epoch.

    The file name identifies an upload: the digest of a package or buildpack, the guid of a droplet, the
    app's guid for a cache.
    """
    text = "\n".join(records)
    return [
        path
        for folder in FOLDERS
        for path in sorted((static_dir / folder).rglob("*"))
        if path.is_file() and now_s - path.stat().st_mtime > MIN_AGE_S and path.stem not in text
    ]


async def remove_unclaimed(plane: ControlPlane, static_dir: Path) -> list[Path]:
    """Remove the unclaimed uploads; returns them. Raises OSError."""
    store = plane.bbs.controllers.deps.store
    records = await store.run(lambda tables: list(map(dumps, [*tables.desired_lrps(), *tables.tasks()])))
    removed = unclaimed(static_dir, records, time.time())
    for path in removed:
        path.unlink(missing_ok=True)
    if removed:
        logger.info("uploads.removed", extra={"data": {"files": [str(path) for path in removed]}})
    return removed
