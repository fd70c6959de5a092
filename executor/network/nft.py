"""Transactions of packet rules: ``nft -f -``, one process at a time, with everything that waits in one go.

Statements are nft's own language, not its JSON: the JSON of nftables 1.0.6 cannot declare a map whose values
are address and port together (it makes a set instead, without a word).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from executor.errors import NetworkError


@dataclass(slots=True)
class _Change:
    statements: tuple[str, ...]
    done: asyncio.Future[None]


class Nft:
    """Applies changes. Changes asked for while nft runs go together into the next transaction."""

    def __init__(self, program: str = "nft") -> None:
        self._program = program
        self._waiting: list[_Change] = []
        self._turn = asyncio.Lock()

    async def apply(self, statements: Sequence[str]) -> None:
        """Apply all of ``statements`` or none. Raises NetworkError with nft's words.

        A change that fails does not take others down: a failed common transaction is taken apart.
        """
        change = _Change(tuple(statements), asyncio.get_running_loop().create_future())
        self._waiting.append(change)
        try:
            async with self._turn:
                if not change.done.done():
                    batch, self._waiting = self._waiting, []
                    await self._finish(batch)
        except asyncio.CancelledError:
            if change in self._waiting:
                self._waiting.remove(change)
            raise
        change.done.result()

    async def read(self, table: str) -> str | None:
        """The table in JSON, between two transactions; None when there is none. Raises NetworkError."""
        async with self._turn:
            return await self._list("table", "inet", table)

    async def tables(self) -> list[str]:
        """Names of all tables of family inet. Raises NetworkError."""
        listing = await self._list("tables", "inet") or '{"nftables": []}'
        return [entry["table"]["name"] for entry in json.loads(listing)["nftables"] if "table" in entry]

    async def _list(self, *what: str) -> str | None:
        try:
            process = await asyncio.create_subprocess_exec(
                *(self._program, "-n", "-j", "list", *what),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise NetworkError(self._missing(error)) from error
        listing, complaint = await process.communicate()
        if process.returncode == 0:
            return listing.decode()
        if b"No such file or directory" in complaint:
            return None
        raise NetworkError(f"packet rules cannot be read: {complaint.decode(errors='replace').strip()}")

    def _missing(self, error: OSError) -> str:
        return f"{self._program}: {error.strerror}; install the Debian package nftables"

    async def _finish(self, batch: list[_Change]) -> None:
        """A transaction that began is seen through, whoever is cancelled: others depend on it."""
        work = asyncio.ensure_future(self._run_batch(batch))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise

    async def _run_batch(self, batch: list[_Change]) -> None:
        error = await self._run([line for change in batch for line in change.statements])
        for change in batch:
            own = error
            if error is not None and len(batch) > 1:
                own = await self._run(change.statements)
            if own is None:
                change.done.set_result(None)
            else:
                change.done.set_exception(NetworkError(own))
                change.done.exception()  # a caller that was cancelled does not ask

    async def _run(self, statements: Sequence[str]) -> str | None:
        text = "\n".join(statements) + "\n"
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                "-f",
                "-",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return self._missing(error)
        _, complaint = await process.communicate(text.encode())
        if process.returncode == 0:
            return None
        return f"packet rules refused: {complaint.decode(errors='replace').strip()}"
