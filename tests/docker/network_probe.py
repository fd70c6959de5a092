"""Network program for tests, run in a network namespace: `serve` echoes, `talk` is its client.

serve tcp:80 udp:53 ...     echoes lines, with the sender's address before them
talk tcp|udp ADDRESS PORT   sends each line of standard input, prints the answer or what went wrong
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import cast

ANSWER_LIMIT_S = 1.0


class Echo(asyncio.DatagramProtocol):
    """UDP, as long as the loop runs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(f"{addr[0]} ".encode() + data, addr)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TCP."""
    address = writer.get_extra_info("peername")[0]
    while line := await reader.readline():
        writer.write(f"{address} ".encode() + line)
    writer.close()


def bound(family: socket.AddressFamily, kind: socket.SocketKind, port: int) -> socket.socket:
    """On all addresses of one version of IP."""
    sock = socket.socket(family, kind)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    return sock


async def serve(places: list[str]) -> None:
    """Until it is killed."""
    families = (socket.AF_INET, socket.AF_INET6) if Path("/proc/net/if_inet6").exists() else (socket.AF_INET,)
    for protocol, _, port in (place.partition(":") for place in places):
        for family in families:
            if protocol == "tcp":
                await asyncio.start_server(echo, sock=bound(family, socket.SOCK_STREAM, int(port)))
            else:
                sock = bound(family, socket.SOCK_DGRAM, int(port))
                await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=sock)
    print("ready", flush=True)
    await asyncio.Event().wait()


def talk(protocol: str, address: str, port: str) -> None:
    """One answer line per line asked."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as connection:
        connection.settimeout(ANSWER_LIMIT_S)
        try:
            connection.connect(socket.getaddrinfo(address, int(port), type=kind)[0][4])
            for line in sys.stdin:
                connection.send(line.encode())
                print(connection.recv(4096).decode().strip(), flush=True)
        except TimeoutError:
            print("silence", flush=True)
        except OSError as error:
            print(error.strerror, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2:]))
    else:
        talk(*sys.argv[2:])
