"""Log rate limits of a container.

Two token buckets, bytes before lines; a line refused by the line limit still uses its bytes. A refusal is
reported; then everything is dropped silently for a second. Every dropped line is counted.
"""

from __future__ import annotations

from executor.clock import Clock

MUTE_SECONDS = 1.0


class TokenBucket:
    """``rate`` tokens per second, at most ``rate`` in the bucket, initially full."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Take ``count`` tokens, all or none."""
        self._tokens = min(self._rate, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if count > self._tokens:
            return False
        self._tokens -= count
        return True


class RateLimiter:
    """Decides for each line.

    bytes_per_second: negative is unlimited; 0 drops everything without a report.
    max_lines_per_second: 0 or less is unlimited.
    """

    def __init__(self, bytes_per_second: int, max_lines_per_second: int, clock: Clock) -> None:
        now = clock.monotonic()
        self._clock = clock
        self._bytes_per_second = bytes_per_second
        self._max_lines_per_second = max_lines_per_second
        self._bytes = TokenBucket(bytes_per_second, now) if bytes_per_second > 0 else None
        self._lines = TokenBucket(max_lines_per_second, now) if max_lines_per_second > 0 else None
        self._muted_until = now
        self.accepted_lines = 0
        self.accepted_bytes = 0
        self.dropped_lines = 0
        self.dropped_bytes = 0

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return self._bytes_per_second >= 0 or self._lines is not None

    @property
    def silent(self) -> bool:
        """Whether the limit is 0, so that every line is dropped."""
        return self._bytes_per_second == 0

    @property
    def muted(self) -> bool:
        """Whether every line is dropped now: for a second after a refusal, or always."""
        return self.silent or (self.limited and self._clock.monotonic() < self._muted_until)

    def drop(self, lines: int, size: int) -> None:
        """Count lines that were dropped unseen. size: their bytes."""
        self.dropped_lines += lines
        self.dropped_bytes += size

    def admit(self, size: int) -> str | None:
        """Check a line of ``size`` bytes: None admits it, a text refuses it.

        A non-empty text is the report for the app's owner.
        """
        refusal = self._refusal(size)
        if refusal is None:
            self.accepted_lines += 1
            self.accepted_bytes += size
        else:
            self.drop(1, size)
        return refusal

    def _refusal(self, size: int) -> str | None:
        if self.silent:
            return ""
        if not self.limited:
            return None
        now = self._clock.monotonic()
        if now < self._muted_until:
            return ""
        if self._bytes is not None and not self._bytes.take(size, now):
            self._muted_until = now + MUTE_SECONDS
            return f"app instance exceeded log rate limit ({self._bytes_per_second} bytes/sec)"
        if self._lines is not None and not self._lines.take(1, now):
            self._muted_until = now + MUTE_SECONDS
            return (
                f"app instance exceeded log rate limit ({self._max_lines_per_second} log-lines/sec)"
                " set by platform operator"
            )
        return None
