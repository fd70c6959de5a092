"""Limits of the agent's own process."""

from __future__ import annotations

import logging
import resource

MOST_DESCRIPTORS = 1 << 20
"""What Linux allows a process by default; some programs walk through as many as they may have."""

logger = logging.getLogger(__name__)


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as the system lets it have; answers how many.

    The usual soft limit of 1,024 is for programs that call ``select``. An agent needs several for each
    container, connection and process. A limit that cannot be raised stays, and the log says so.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if resource.RLIM_INFINITY != soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            data = {"limit": soft, "wanted": wanted, "error": str(error)}
            logger.warning("descriptor-limit-not-raised", extra={"data": data})
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
