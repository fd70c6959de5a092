"""Validation of host keys and authorized keys, with Go's error texts."""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NO_KEY = "ssh: no key found"


class KeyRejected(ValueError):
    """The text is not a usable key."""


def check_private_key(pem: str) -> None:
    """Check that ``pem`` is a private key without passphrase. Raises :class:`KeyRejected`."""
    if not re.search(r"-----BEGIN [A-Z0-9 ]+-----\s", pem):
        raise KeyRejected(NO_KEY)
    data = pem.encode("utf-8", "surrogateescape")
    load = (
        serialization.load_ssh_private_key
        if "BEGIN OPENSSH PRIVATE KEY" in pem
        else serialization.load_pem_private_key
    )
    try:
        load(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRejected(f"ssh: {error}") from error


def generate_private_key() -> str:
    """A new Ed25519 host key as PEM, for a daemon without a configured key; valid until the daemon exits."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        .decode("ascii")
    )


def authorized_blob(text: str) -> bytes:
    """The blob of the first key in authorized_keys lines, without the options in front of it.

    Raises :class:`KeyRejected`.
    """
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        for fields in (line, _without_options(line)):
            blob = _blob(fields)
            if blob is not None:
                return blob
    raise KeyRejected(NO_KEY)


def _blob(fields: str) -> bytes | None:
    parts = fields.split()
    if len(parts) < 2:
        return None
    try:
        blob = base64.b64decode(parts[1], validate=True)
        serialization.load_ssh_public_key(f"{parts[0]} {parts[1]}".encode())
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return None
    return blob


def _without_options(line: str) -> str:
    """The text after the first blank outside quotes."""
    quoted = False
    for at, character in enumerate(line):
        if character == '"' and line[at - 1 : at] != "\\":
            quoted = not quoted
        elif character in " \t" and not quoted:
            return line[at:].strip()
    return ""
