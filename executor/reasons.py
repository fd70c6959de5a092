"""Failure reasons that may be shown to an app's owner.

The text of an exception may contain host paths, addresses of the cell, or internals of Python and its
libraries. It goes to the component log. The owner gets the operating system's text or the meaning of the
exception.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import aiohttp
from requests.exceptions import Timeout as RequestsTimeout

_CHAIN_MOST = 20


def reason_of(error: BaseException) -> str:
    """The reason why a request or an operation failed."""
    chain = [*_chain(error)]
    for each in chain:
        if isinstance(each, TimeoutError | RequestsTimeout):
            return "no answer in time"
        if isinstance(each, ssl.SSLError):
            reason = getattr(each, "reason", None) or "handshake failed"
            return f"TLS: {reason.lower().replace('_', ' ')}"
        if isinstance(each, OSError) and isinstance(each.strerror, str) and each.errno is not None:
            return each.strerror[:1].lower() + each.strerror[1:]
    if any(isinstance(each, aiohttp.ServerDisconnectedError | ConnectionError) for each in chain):
        return "the connection was closed"
    if any(isinstance(each, aiohttp.ClientPayloadError) for each in chain):
        return "the answer ended early"
    return "the answer cannot be understood" if isinstance(error, ValueError) else "no connection"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exceptions nested in an exception, outermost first, for all ways in which libraries nest them."""
    left, visited = [error], set[int]()
    while left and len(visited) < _CHAIN_MOST:
        each = left.pop(0)
        if id(each) in visited:
            continue
        visited.add(id(each))
        yield each
        inner = (getattr(each, "os_error", None), getattr(each, "reason", None), *each.args)
        left += [one for one in (*inner, each.__cause__, each.__context__) if isinstance(one, BaseException)]
