"""Reasons of failures in words that an app's owner may see.

The text of an exception may hold paths of the host, addresses of the cell, and words of Python and its
libraries. The component log has it; owners get the operating system's words, or what the exception means.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import aiohttp
from requests.exceptions import Timeout as RequestsTimeout

_CHAIN_MOST = 20


def reason_of(error: BaseException) -> str:
    """Why a request or an operation failed."""
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
    """The exceptions inside an exception, whichever way a library keeps them, the outermost first."""
    left, seen = [error], set[int]()
    while left and len(seen) < _CHAIN_MOST:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (getattr(each, "os_error", None), getattr(each, "reason", None), *each.args)
        left += [one for one in (*inner, each.__cause__, each.__context__) if isinstance(one, BaseException)]
