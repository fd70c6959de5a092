"""Limits of stored records. Too long names are refused as InvalidRequest, without the field name."""

from __future__ import annotations

from bbs.models.errors import BBSError, ErrorType

GUID_LIMIT = 255
"""Maximum characters of guids, domains, log guids and cell ids."""

ROOT_FS_LIMIT = 1024
"""Maximum characters of a rootfs."""


MAX_INSTANCES = 10_000
"""Maximum instances of one LRP. One transaction creates them: a 32-bit number would take hours."""


def check_instances(instances: int) -> None:
    """Raises InvalidRequest."""
    if instances > MAX_INSTANCES:
        raise BBSError(ErrorType.InvalidRequest, f"Invalid field: instances (more than {MAX_INSTANCES})")


def check_guid(*names: str) -> None:
    """Raises InvalidRequest."""
    if any(len(name) > GUID_LIMIT for name in names):
        raise BBSError(ErrorType.InvalidRequest)


def check_root_fs(root_fs: str) -> None:
    """Raises InvalidRequest."""
    if len(root_fs) > ROOT_FS_LIMIT:
        raise BBSError(ErrorType.InvalidRequest)
