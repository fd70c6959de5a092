"""The connection to an instance's daemon: by TLS if available, else plain unless TLS is required."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl

from common.goerrors import dial_failed, join_host_port
from sshd.proxy.target import Address, Target
from sshd.records import ERROR, Records
from sshd.ssh.client import ClientLink, Credentials, connect
from sshd.ssh.library import asyncssh
from sshd.ssh.mux import MuxHandler

VERSION = "diego-ssh-proxy"

CONNECT_SECONDS = 10.0
"""Limit for the connection to one address, and for the authentication there."""


SHA256_PREFIX = "SHA256:"

_MD5, _SHA1, _SHA256, _SHA256_UNPADDED, _SHA256_HEX = 47, 59, 44, 43, 95
"""Lengths: hex with colons (MD5, SHA-1), base64, base64 without padding, and hex of some 2024 releases."""


class Unreachable(Exception):
    """The daemon is unreachable or refuses the authentication; the text is for the log."""


async def connect_backend(
    target: Target,
    handler: MuxHandler,
    tls: ssl.SSLContext | None,
    records: Records,
    *,
    tls_required: bool = False,
) -> ClientLink:
    """An authenticated connection to the target. Raises :class:`Unreachable`."""
    if target.plain is None and target.tls is None:
        raise Unreachable("the instance does not map the port of its SSH daemon")
    credentials = _credentials(target)
    if target.tls is not None and tls is not None:
        try:
            return await _connect(target.tls, target, credentials, handler, tls)
        except OSError as error:  # includes ssl.SSLError
            where = join_host_port(target.tls.host, target.tls.port)
            records.write(ERROR, "failed-to-connect-with-tls", address=where, error=str(error))
            if tls_required:
                raise Unreachable(f"TLS to {where}: {error}") from error
    if tls_required:
        raise Unreachable("the instance has no TLS address, which backends_tls_required demands")
    if target.plain is None:
        raise Unreachable("the instance has no plain address")
    try:
        return await _connect(target.plain, target, credentials, handler, None)
    except OSError as error:
        raise Unreachable(dial_failed(target.plain.host, target.plain.port, error)) from error


async def _connect(
    address: Address,
    target: Target,
    credentials: Credentials,
    handler: MuxHandler,
    tls: ssl.SSLContext | None,
) -> ClientLink:
    """Connect to one address. Raises ``OSError`` for address errors, else :class:`Unreachable`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            end = await _dial(address)
            return await connect(
                end,
                credentials,
                lambda blob: matches(target.host_fingerprint, blob),
                handler,
                version=VERSION,
                tls=tls,
                server_name=target.instance_guid,
            )
    except asyncssh.Error as error:
        raise Unreachable(error.reason) from error


async def _dial(address: Address) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, _, _, _, where = found[0]
    end = socket.socket(family, socket.SOCK_STREAM)
    end.setblocking(False)
    try:
        await loop.sock_connect(end, where)
    except BaseException:
        end.close()
        raise
    return end


def _credentials(target: Target) -> Credentials:
    key = None
    if target.private_key:
        try:
            key = asyncssh.import_private_key(target.private_key)
        except asyncssh.KeyImportError as error:
            raise Unreachable(f"private_key of the route: {error}") from error
    return Credentials(target.user, target.password, key)


def matches(expected: str, key_blob: bytes) -> bool:
    """Whether a host key has the expected fingerprint, whose length determines its type.

    An empty expectation matches every key, one of unknown length none. Hex digits must be lower case.
    """
    if not expected:
        return True
    actual = _fingerprint(key_blob, len(expected.removeprefix(SHA256_PREFIX)))
    return actual is not None and hmac.compare_digest(
        actual.encode(), expected.removeprefix(SHA256_PREFIX).encode("utf-8", "surrogateescape")
    )


def _fingerprint(blob: bytes, length: int) -> str | None:
    if length == _MD5:
        return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")
    if length == _SHA1:
        return hashlib.sha1(blob, usedforsecurity=False).digest().hex(":")
    if length == _SHA256_HEX:
        return hashlib.sha256(blob).digest().hex(":")
    if length in (_SHA256, _SHA256_UNPADDED):
        return base64.b64encode(hashlib.sha256(blob).digest()).decode()[:length]
    return None
