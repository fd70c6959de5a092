"""Transactions on packet rules: one at a time, with all waiting changes in one batch.

Changes of elements go to the kernel directly; all other changes go through the library.

Statements are in nft's language, not its JSON: the JSON of nftables 1.0.6 cannot declare a map whose value
is an address and a port together (it silently makes a set).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from common.shielded import finish
from executor.errors import NetworkError
from executor.network.elements import ElementSocket, ElementStatement
from executor.network.libnftables import NftContext

T = TypeVar("T")


class Context(Protocol):
    """Runs statements, like :class:`executor.network.libnftables.NftContext`."""

    def run(self, text: str) -> tuple[str | None, str]:
        """The listing (None if refused) and the error messages. Blocks."""

    def close(self) -> None:
        """Closing twice is allowed."""


Statements = Sequence[str] | Callable[[], Sequence[str]]
"""Statements, or a function that composes them in the thread that runs them, for large sets."""


@dataclass(slots=True)
class _Change:
    statements: Statements
    done: asyncio.Future[None]


class Nft:
    """Applies changes. Changes requested during a transaction go together into the next one."""

    def __init__(
        self,
        writer: Callable[[], Context] = NftContext,
        reader: Callable[[], Context] = NftContext.in_json,
    ) -> None:
        """writer: makes the context that applies changes until it is closed. reader: makes a context for each
        listing.
        """
        self._make_writer = writer
        self._make_reader = reader
        self._writer: Context | None = None
        self._elements: ElementSocket | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nft")
        self._waiting: list[_Change] = []
        self._turn = asyncio.Lock()

    async def apply(self, statements: Statements) -> None:
        """Apply all of ``statements`` or none. Raises NetworkError with nft's message.

        A failing change does not affect others: if a shared transaction fails, its changes run one by one.
        """
        change = _Change(statements, asyncio.get_running_loop().create_future())
        self._waiting.append(change)
        try:
            async with self._turn:
                if not change.done.done():
                    batch, self._waiting = self._waiting, []
                    # to its end, even if this caller is cancelled: other callers wait for it, too
                    await finish(self._run_batch(batch))
        except asyncio.CancelledError:
            if change in self._waiting:
                self._waiting.remove(change)
            raise
        change.done.result()

    async def read(self, table: str) -> str | None:
        """The table in JSON, read between two transactions; None if there is none. Raises NetworkError."""
        async with self._turn:
            return await self._in_thread(lambda: self._list(f"table inet {table}"))

    async def tables(self) -> list[str]:
        """Names of all tables of family inet. Raises NetworkError."""
        listing = await self._in_thread(lambda: self._list("tables inet")) or '{"nftables": []}'
        return [entry["table"]["name"] for entry in json.loads(listing)["nftables"] if "table" in entry]

    async def close(self) -> None:
        """Release contexts and sockets. Closing twice is allowed; a later change opens them again."""
        async with self._turn:
            await self._in_thread(self._close_contexts)

    def _list(self, what: str) -> str | None:
        """Uses a new context each time: a context keeps all it has listed."""
        reader = self._make_reader()
        try:
            listing, complaint = reader.run(f"list {what}")
        finally:
            reader.close()
        if listing is None and "No such file or directory" not in complaint:
            raise NetworkError(f"packet rules cannot be read: {complaint}")
        return listing

    async def _run_batch(self, batch: list[_Change]) -> None:
        error = await self._run([change.statements for change in batch])
        for change in batch:
            own = error
            if error is not None and len(batch) > 1:
                own = await self._run([change.statements])
            if own is None:
                change.done.set_result(None)
            else:
                change.done.set_exception(NetworkError(own))
                change.done.exception()  # a cancelled caller does not retrieve it

    async def _run(self, changes: Sequence[Statements]) -> str | None:
        try:
            complaint = await self._in_thread(lambda: self._write(_composed(changes)))
        except NetworkError as error:
            return str(error)
        return None if complaint is None else f"packet rules refused: {complaint}"

    def _write(self, statements: Sequence[str]) -> str | None:
        elements = [one for one in statements if isinstance(one, ElementStatement)]
        if len(elements) == len(statements):
            self._elements = self._elements or ElementSocket()
            return self._elements.run(elements)
        self._writer = self._writer or self._make_writer()
        done, complaint = self._writer.run("\n".join(statements) + "\n")
        return complaint if done is None else None

    def _close_contexts(self) -> None:
        for held in (self._writer, self._elements):
            if held is not None:
                held.close()
        self._writer = self._elements = None

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)


def _composed(changes: Iterable[Statements]) -> list[str]:
    return [line for each in changes for line in (each() if callable(each) else each)]
