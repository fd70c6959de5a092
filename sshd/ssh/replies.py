"""Ordered replies: SSH matches replies to requests by order alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sshd.ssh.messages import ProtocolViolation

MAX_PENDING = 1000
"""Limit of requests that wait for their answer; a peer that exceeds it is disconnected."""


class Pending:
    """One outstanding reply."""

    __slots__ = ("done", "payload", "success")

    def __init__(self) -> None:
        self.done = False
        self.success = False
        self.payload = b""


class Reply:
    """Answers one request of a peer; must be called once. Without ``want_reply`` it does nothing."""

    __slots__ = ("_pending", "_replies", "want_reply")

    def __init__(self, replies: Replies, want_reply: bool) -> None:
        self.want_reply = want_reply
        self._replies = replies
        self._pending = replies.expect() if want_reply else None

    def __call__(self, success: bool, payload: bytes = b"") -> None:
        if self._pending is not None:
            self._replies.answer(self._pending, success, payload)


class Replies:
    """Outstanding replies to a peer; ``send`` is called for each, oldest first."""

    __slots__ = ("_queue", "_send")

    def __init__(self, send: Callable[[Pending], None]) -> None:
        self._queue: deque[Pending] = deque()
        self._send = send

    def expect(self) -> Pending:
        if len(self._queue) >= MAX_PENDING:
            raise ProtocolViolation(f"more than {MAX_PENDING} requests without an answer")
        pending = Pending()
        self._queue.append(pending)
        return pending

    def answer(self, pending: Pending, success: bool, payload: bytes = b"") -> None:
        pending.done = True
        pending.success = success
        pending.payload = payload
        while self._queue and self._queue[0].done:
            self._send(self._queue.popleft())
