"""How long names may be. Longer ones are refused as invalid as a whole, without naming the field."""

from __future__ import annotations

from bbs.models.errors import BBSError, ErrorType

GUID_LIMIT = 255
"""Characters of guids, domains, log guids and cell ids."""

ROOT_FS_LIMIT = 1024
"""Characters of a rootfs."""


def check_guid(*names: str) -> None:
    """Raises InvalidRequest."""
    if any(len(name) > GUID_LIMIT for name in names):
        raise BBSError(ErrorType.InvalidRequest)


def check_root_fs(root_fs: str) -> None:
    """Raises InvalidRequest."""
    if len(root_fs) > ROOT_FS_LIMIT:
        raise BBSError(ErrorType.InvalidRequest)
