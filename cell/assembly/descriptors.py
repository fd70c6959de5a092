"""Descriptor limit of the agent's process."""

from __future__ import annotations

import logging
import resource

MOST_DESCRIPTORS = 1 << 20
"""Linux's default maximum per process; some programs iterate over all allowed descriptors."""

logger = logging.getLogger(__name__)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard limit, at most MOST_DESCRIPTORS; returns the limit.

    The usual soft limit of 1,024 is for programs that call ``select``. An agent needs several descriptors per
    container, connection and process. If the limit cannot be raised, it stays, with a log entry.
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
