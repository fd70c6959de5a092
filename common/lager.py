"""Log records in the two forms of ``lager``, the log library of Diego's Go programs."""

from __future__ import annotations

import time

LEVELS = ("debug", "info", "error", "fatal")
TIME_FORMATS = ("unix-epoch", "rfc3339")


def entry(
    source: str, message: str, level: int, data: object, nanoseconds: int, *, rfc3339: bool
) -> dict[str, object]:
    """One record, to be written as JSON in this order.

    source: name of the component, which also prefixes the message. level: index in LEVELS. nanoseconds: since
    the epoch. rfc3339: the form with named levels and readable times.
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    full = f"{source}.{message}"
    if rfc3339:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return {
            "timestamp": f"{stamp}.{rest:09d}Z",
            "level": LEVELS[level],
            "source": source,
            "message": full,
            "data": data,
        }
    return {
        "timestamp": f"{seconds}.{rest:09d}",
        "source": source,
        "message": full,
        "log_level": level,
        "data": data,
    }
