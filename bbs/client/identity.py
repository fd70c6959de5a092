"""TLS identity files, and TLS contexts that follow them.

Renewed files apply to new connections. Existing connections are not affected. Files are checked every few
seconds. An inconsistent set of files is ignored until it is consistent, for example while a renewal has
written only one of two files. A client keeps trusting its initial CA certificates in addition to new ones; a
server trusts only the current CA file.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bbs.client.tls import TLSConfigurationError, client_context, server_context
from common.tasks import running

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S: Final = 5.0
"""Interval between checks of the files."""

Stamp = tuple[int, int, int]
Fingerprint = tuple[Stamp | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFiles:
    """PEM files: the CA certificates that verify peers, the own certificate, and its key."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def fingerprint(self) -> Fingerprint:
        """Changes when a file is replaced, rewritten or removed."""
        return tuple(_stamp(path) for path in (self.ca_file, self.cert_file, self.key_file))


class Identity:
    """TLS contexts from one set of files. Raises TLSConfigurationError for unusable files."""

    def __init__(self, files: IdentityFiles) -> None:
        self.files = files
        self._fingerprint = files.fingerprint()
        self._newest_server = server_context(files.ca_file, files.cert_file, files.key_file)
        self._clients: list[ssl.SSLContext] = []
        self._due = asyncio.Event()

    def server_context(self) -> ssl.SSLContext:
        """Context for a listener; every handshake uses the current files."""
        files = self.files
        context = server_context(files.ca_file, files.cert_file, files.key_file)

        def use_newest(handshake: ssl.SSLObject, name: str | None, initial: ssl.SSLContext) -> None:
            handshake.context = self._newest_server

        context.sni_callback = use_newest  # also called for clients that send no server name
        return context

    def client_context(self, *, check_hostname: bool = True) -> ssl.SSLContext:
        """Context for client connections. check_hostname: the peer's certificate must name the host."""
        context = client_context(self.files.ca_file, self.files.cert_file, self.files.key_file)
        context.check_hostname = check_hostname
        self._clients.append(context)
        return context

    def renew(self) -> bool:
        """Check the files; True if they changed and are now in use."""
        files = self.files
        now = files.fingerprint()
        if now == self._fingerprint:
            return False
        self._fingerprint = now
        try:
            newest = server_context(files.ca_file, files.cert_file, files.key_file)
            for context in self._clients:
                context.load_verify_locations(cafile=files.ca_file)
                context.load_cert_chain(files.cert_file, files.key_file)
        except (OSError, TLSConfigurationError) as error:
            logger.error("tls-identity.not-renewed", extra=self._about(error=str(error)))
            return False
        self._newest_server = newest
        logger.info("tls-identity.renewed", extra=self._about())
        return True

    def check_soon(self) -> None:
        """Check the files now instead of at the next interval, if they are watched."""
        self._due.set()

    @asynccontextmanager
    async def watched(
        self, renewed: Callable[[], Awaitable[None]] | None = None, *, interval_s: float = CHECK_INTERVAL_S
    ) -> AsyncIterator[None]:
        """Check the files while the context lasts. renewed: awaited after each renewal."""

        async def check() -> None:
            due = False
            while True:
                try:
                    async with asyncio.timeout(interval_s):
                        await self._due.wait()
                except TimeoutError:
                    pass
                self._due.clear()
                try:
                    due = self.renew() or due
                    if due and renewed is not None:
                        await renewed()
                    due = False
                except Exception as error:
                    # The previous identity stays in use; the next check retries.
                    logger.exception("tls-identity.not-renewed", extra=self._about(error=str(error)))

        async with running(check(), f"identity {self.files.cert_file}"):
            yield

    def _about(self, **data: str) -> dict[str, object]:
        return {"data": {"certificate": str(self.files.cert_file), **data}}


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
