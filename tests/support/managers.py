"""A service manager's end of the notification socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until

MESSAGE_BYTES = 4096


class Manager:
    """Receives messages. messages: in order, each with its fields; descriptors: those it keeps, by name."""

    def __init__(self, listening: socket.socket, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self.descriptors: dict[str, int] = {}
        self._listening = listening

    def received(self) -> list[dict[str, str]]:
        """All messages so far."""
        while True:
            try:
                data, numbers, _, _ = socket.recv_fds(self._listening, MESSAGE_BYTES, 4)
            except BlockingIOError:
                return self.messages
            message = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.messages.append(message)
            for number in numbers:
                self.descriptors[message["FDNAME"]] = number

    def has(self, **fields: str) -> bool:
        return any(fields.items() <= message.items() for message in self.received())

    def statuses(self) -> list[str]:
        return [message["STATUS"] for message in self.received() if "STATUS" in message]

    async def until(self, **fields: str) -> None:
        await until(lambda: self.has(**fields), str(fields))

    def clear(self) -> None:
        self.received()
        self.messages.clear()


@contextmanager
def manager(folder: Path) -> Iterator[Manager]:
    """A manager whose socket is in the folder; it closes what it keeps at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        address = str(folder / "notify")
        listening.bind(address)
        listening.setblocking(False)
        found = Manager(listening, address)
        try:
            yield found
        finally:
            found.received()
            for number in found.descriptors.values():
                os.close(number)
