"""Log records on standard output, one JSON object per line, as the platform's collectors read them."""

from __future__ import annotations

import json
import sys
import time

LEVELS = ("debug", "info", "error", "fatal")
DEBUG, INFO, ERROR, FATAL = range(4)

TIME_FORMATS = ("unix-epoch", "rfc3339")


class Records:
    """Writes records of one component at or above a level."""

    def __init__(self, component: str, level: int, rfc3339: bool) -> None:
        self.component = component
        self.level = level
        self.rfc3339 = rfc3339

    def write(self, level: int, message: str, **data: object) -> None:
        """``message`` without the component; ``data`` in the order given."""
        if level < self.level:
            return
        now = time.time_ns()
        full = f"{self.component}.{message}"
        record: dict[str, object]
        if self.rfc3339:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
            record = {
                "timestamp": f"{stamp}.{now % 10**9:09d}Z",
                "level": LEVELS[level],
                "source": self.component,
                "message": full,
                "data": data,
            }
        else:
            record = {
                "timestamp": f"{now // 10**9}.{now % 10**9:09d}",
                "source": self.component,
                "message": full,
                "log_level": level,
                "data": data,
            }
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
        try:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        except OSError:  # nobody reads the log; no reason to end
            return
