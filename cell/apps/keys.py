"""SSH keys of an app: a new host key and a new user key for every LRP."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cell.apps.recipes.values import Keys

BITS = 2048


def generate_keys() -> Keys:
    """Takes some tenths of a second."""
    host, user = (rsa.generate_private_key(public_exponent=65537, key_size=BITS) for _ in range(2))
    blob = base64.b64decode(public_line(host).split()[1])
    return Keys(
        host_private=_pem(host),
        user_private=_pem(user),
        user_public=f"{public_line(user)}\n",
        host_md5=hashlib.md5(blob, usedforsecurity=False).digest().hex(":"),
        host_sha1=hashlib.sha1(blob, usedforsecurity=False).digest().hex(":"),
        host_sha256=base64.b64encode(hashlib.sha256(blob).digest()).decode(),
    )


def public_line_of(pem: str) -> str:
    """``ssh-rsa AAAA...`` of a private key. Raises ValueError."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return public_line(key)


def public_line(key: rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode()


def _pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
