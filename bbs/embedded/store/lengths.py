"""What a record may hold. Names that are too long are refused as invalid, without naming the field."""

from __future__ import annotations

from bbs.models.errors import BBSError, ErrorType

GUID_LIMIT = 255
"""Characters of guids, domains, log guids and cell ids."""

ROOT_FS_LIMIT = 1024
"""Characters of a rootfs."""


MAX_INSTANCES = 10_000
"""Of one LRP. They are created in one transaction; a number of 32 bits would occupy the store for hours."""


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
