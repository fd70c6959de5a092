"""The built-in volume driver ``bind``: host directories that the operator allows.

The volume's config names the directory as ``source``. With all links resolved, it must exist and be equal to
or below an allowed directory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from executor.volumes.api import VolumeError

NAME = "bind"


class BindDriver:
    """Implements :class:`executor.volumes.api.Driver`."""

    unique_volume_ids = False

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = tuple(allowed)

    async def mount(self, name: str, config: Mapping[str, object]) -> str:
        source = config.get("source")
        if not isinstance(source, str) or not source.startswith("/"):
            raise _refused(f"volume {name!r}: its config needs an absolute path as source, not {source!r}")
        return await asyncio.to_thread(self._resolve, name, source)

    async def unmount(self, name: str) -> None:
        return

    def _resolve(self, name: str, source: str) -> str:
        try:
            path = os.path.realpath(source, strict=True)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no path"
            raise _refused(f"volume {name!r}: {source}: {reason}") from error
        roots = (os.path.realpath(allowed) for allowed in self._allowed)
        if not any(os.path.commonpath((root, path)) == root for root in roots):
            raise _refused(f"volume {name!r}: {source} is not among the host paths this cell allows")
        return path


def _refused(text: str) -> VolumeError:
    return VolumeError(text, safe=text)
