"""TCP dial and listen, with Go's error texts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from common.goerrors import dial_failed, lookup_failed
from sshd.daemon.relay import SocketSide

MAX_PORT = 65535

ALL_ADDRESSES = ("", "0.0.0.0", "::")


LOOK_UPS = ThreadPoolExecutor(64, thread_name_prefix="look-up")
"""Look-ups of names, which last as long as a name server takes; the threads start on demand."""

LOOK_UPS_OF_A_CLIENT = 2


class DialFailed(Exception):
    """A failed dial; the text is like ``dial tcp 127.0.0.1:9: connect: connection refused``."""


class Names:
    """Look-ups of one client: a few at a time, so that slow names delay no other client."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(LOOK_UPS_OF_A_CLIENT)

    async def addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """Raises OSError, UnicodeError."""
        look_up: Callable[[], list[tuple[Any, ...]]] = partial(
            socket.getaddrinfo, host, port, type=socket.SOCK_STREAM
        )
        async with self._turns:
            return await asyncio.get_running_loop().run_in_executor(LOOK_UPS, look_up)


async def dial(host: str, port: int, names: Names) -> SocketSide:
    """Connect to the first address of ``host`` that accepts. Raises :class:`DialFailed`."""
    if port > MAX_PORT:
        raise DialFailed(f"dial tcp: address {port}: invalid port")
    loop = asyncio.get_running_loop()
    try:
        addresses = await names.addresses(host or "localhost", port)
    except (OSError, UnicodeError):
        raise DialFailed(lookup_failed(host)) from None
    failure = DialFailed(lookup_failed(host))
    for attempt, (family, _, _, _, address) in enumerate(addresses):
        end = socket.socket(family, socket.SOCK_STREAM)
        end.setblocking(False)
        try:
            await loop.sock_connect(end, address)
            _, side = await loop.create_connection(SocketSide, sock=end)
        except OSError as error:
            end.close()
            if attempt == 0:
                failure = DialFailed(dial_failed(str(address[0]), port, error))
        except BaseException:
            end.close()
            raise
        else:
            return side
    raise failure


async def listen(
    host: str, port: int, connected: Callable[[SocketSide], None], names: Names
) -> tuple[asyncio.Server, tuple[str, int]]:
    """Listen for forwards; the second value is the bound address.

    For all addresses, one port is bound in both families. Raises ``OSError``.
    """
    if port > MAX_PORT:
        raise OSError(f"address {port}: invalid port")
    loop = asyncio.get_running_loop()
    end = await _bound(host, port, names)
    try:
        server = await loop.create_server(lambda: SocketSide(connected), sock=end, start_serving=False)
    except BaseException:
        end.close()
        raise
    try:
        await server.start_serving()
    except BaseException:
        server.close()
        raise
    name = end.getsockname()
    return server, (str(name[0]), int(name[1]))


async def _bound(host: str, port: int, names: Names) -> socket.socket:
    if host in ALL_ADDRESSES and socket.has_ipv6:
        try:
            return _bind(socket.AF_INET6, ("::", port), both=True)
        except OSError:
            if host == "::":
                raise
    if host in ALL_ADDRESSES:
        return _bind(socket.AF_INET, ("0.0.0.0", port))
    found = await names.addresses(host, port)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return _bind(family, address)


def _bind(family: socket.AddressFamily, address: tuple[object, ...], both: bool = False) -> socket.socket:
    end = socket.socket(family, socket.SOCK_STREAM)
    try:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        end.bind(address)
        end.listen(128)
    except BaseException:
        end.close()
        raise
    return end
