"""Changes of set and map elements, sent to the kernel over netlink.

The library behind ``nft`` lists all chains and sets before every change. With 250 containers that have
rules of their own, the list takes many times as long as the change. Changes of elements do not need the
list: an element is a key, its value or jump, and a comment.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from executor.errors import NetworkError
from executor.network import netlink

_NF_TABLES = 10
_NEW_ELEMENTS, _DELETE_ELEMENTS = _NF_TABLES << 8 | 12, _NF_TABLES << 8 | 14
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_FAMILY_INET = 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEMENT = 1, 2, 3, 1
_ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_USER_DATA = 1, 2, 6
_DATA_VALUE, _DATA_VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN, _JUMP = 1, 2, -3
_COMMENT = 0
_ANSWER_BYTES = 1 << 16
_SEND_BUFFER_BEYOND_LIMIT, _BATCH_BYTES = 32, 2 << 20  # SO_SNDBUFFORCE
_AT_ONCE = 200
"""Elements per message, whose length field has 16 bits; an element has at most 250 bytes."""


@dataclass(frozen=True, slots=True)
class Element:
    """key, value: the kernel's format, parts padded to 4 bytes. chain: jump target, instead of a value."""

    key: bytes
    value: bytes = b""
    chain: str = ""
    comment: str = ""


class ElementStatement(str):
    """An nft statement about elements, with the netlink content for it."""

    table: str
    name: str
    elements: tuple[Element, ...]
    add: bool

    @classmethod
    def of(
        cls, text: str, table: str, name: str, elements: Iterable[Element], *, add: bool
    ) -> ElementStatement:
        """name: the set or map, in a table of family inet. add: add the elements, else delete them."""
        made = cls(text)
        made.table, made.name, made.elements, made.add = table, name, tuple(elements), add
        return made


def port_key(port: int) -> bytes:
    """Key ``tcp . port``."""
    return struct.pack(">BxxxHxx", socket.IPPROTO_TCP, port)


def target_value(address: bytes, port: int) -> bytes:
    """Value ``address . port``."""
    return address + struct.pack(">Hxx", port)


class ElementSocket:
    """Netlink socket for element changes. Use it from one thread at a time."""

    def __init__(self) -> None:
        """Raises NetworkError."""
        try:
            self._socket = netlink.open_socket(netlink.NETFILTER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SEND_BUFFER_BEYOND_LIMIT, _BATCH_BYTES)
        except OSError as error:
            raise NetworkError(f"packet rules cannot be changed: {error.strerror}") from error
        self._number = 0
        """Sequence number of the last message; identifies the batch of an answer."""

    def run(self, statements: Sequence[ElementStatement]) -> str | None:
        """Make all changes or none; return the error, None for success. Blocks for a short time."""
        marked = netlink.NETFILTER_HEADER.pack(socket.AF_UNSPEC, 0, _NF_TABLES)
        begin = self._next()
        batch = [netlink.request(_BATCH_BEGIN, 0, begin, marked)]
        sent: dict[int, ElementStatement] = {}
        for statement in statements:
            kind, flags = (_NEW_ELEMENTS, netlink.CREATE) if statement.add else (_DELETE_ELEMENTS, 0)
            for body in _messages(statement):
                number = self._next()
                sent[number] = statement
                batch.append(netlink.request(kind, flags | netlink.ACK, number, body))
        batch.append(netlink.request(_BATCH_END, 0, self._next(), marked))
        try:
            self._socket.send(b"".join(batch))
            answers = dict(self._answers())
        except OSError as error:
            return f"{error.strerror}: {statements[0]}"
        for number, statement in sent.items():
            if code := answers.get(number, answers.get(begin, errno.ENOMSG)):
                return f"{os.strerror(code)}: {statement}"
        return None

    def close(self) -> None:
        """Closing twice is allowed."""
        self._socket.close()

    def _next(self) -> int:
        self._number = (self._number + 1) & 0xFFFFFFFF
        return self._number

    def _answers(self) -> Iterator[tuple[int, int]]:
        """Pairs of message number and error (0 for success). They are available once the kernel has taken a
        batch.
        """
        while True:
            try:
                data = self._socket.recv(_ANSWER_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for answer in netlink.messages(data):
                if answer.kind == netlink.ERROR:
                    yield answer.number, netlink.error_code(answer.body)


def _messages(statement: ElementStatement) -> Iterator[bytes]:
    for start in range(0, len(statement.elements), _AT_ONCE):
        elements = b"".join(map(_element, statement.elements[start : start + _AT_ONCE]))
        yield b"".join(
            (
                netlink.NETFILTER_HEADER.pack(_FAMILY_INET, 0, 0),
                netlink.attribute(_LIST_TABLE, netlink.text(statement.table)),
                netlink.attribute(_LIST_SET, netlink.text(statement.name)),
                netlink.attribute(_LIST_ELEMENTS | netlink.NESTED, elements),
            )
        )


def _element(element: Element) -> bytes:
    body = netlink.attribute(_ELEMENT_KEY | netlink.NESTED, netlink.attribute(_DATA_VALUE, element.key))
    if element.value:
        body += netlink.attribute(
            _ELEMENT_DATA | netlink.NESTED, netlink.attribute(_DATA_VALUE, element.value)
        )
    if element.chain:
        verdict = netlink.attribute(_VERDICT_CODE, struct.pack(">l", _JUMP)) + netlink.attribute(
            _VERDICT_CHAIN, netlink.text(element.chain)
        )
        body += netlink.attribute(
            _ELEMENT_DATA | netlink.NESTED, netlink.attribute(_DATA_VERDICT | netlink.NESTED, verdict)
        )
    if element.comment:
        comment = netlink.text(element.comment)
        body += netlink.attribute(_ELEMENT_USER_DATA, bytes((_COMMENT, len(comment))) + comment)
    return netlink.attribute(_LIST_ELEMENT | netlink.NESTED, body)
