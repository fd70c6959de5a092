"""Parts of `cell dev`: slots, certificates, root filesystems, the bundle, endpoints, the log board."""

from typing import Final

BUSYBOX_STACK: Final = "busybox"
BUSYBOX_IMAGE: Final = "diego-cell/busybox:latest"
"""The smallest preloaded root filesystem and its image, built from this machine's static busybox."""
APP_STACK: Final = "cellfs"
"""The preloaded root filesystem for buildpack apps."""
