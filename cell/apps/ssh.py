"""SSH of apps: new keys for an LRP, and the sshd of an instance with its keys."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bbs.models.actual_lrp import ActualLRP
from bbs.models.codec import parse
from bbs.models.desired_lrp import DesiredLRP
from cell.apps.lookup import processes
from cell.apps.recipes.lrp import SSH_ROUTE
from cell.apps.recipes.values import Keys
from cell.apps.running import RUNNING, address
from cell.client.session import CommandFailed

BITS = 2048
HOST_KEY_FLAG = "-hostKey="


@dataclass(frozen=True, slots=True)
class SSHTarget:
    """One instance's sshd. private_key: of the user, PEM. host_key: a line without host names."""

    host: str
    port: int
    private_key: str
    host_key: str


def ssh_target(name: str, app: DesiredLRP, number: int, rows: list[ActualLRP]) -> SSHTarget:
    """The sshd of instance ``number`` of an app. Raises CommandFailed."""
    raw = (app.routes or {}).get(SSH_ROUTE)
    host_keys = [
        argument.removeprefix(HOST_KEY_FLAG)
        for process in processes(app)
        for argument in process.args
        if argument.startswith(HOST_KEY_FLAG)
    ]
    if raw is None or not host_keys:
        raise CommandFailed(f"{name} runs without sshd")
    running = [row for row in rows if row.state == RUNNING]
    if not running:
        states = ", ".join(row.state for row in rows) or "it is not desired"
        raise CommandFailed(f"instance {number} of {name} is not running: {states}")
    route = parse(raw)
    try:
        where = address(running[0], route["container_port"])
        key, host_key = route["private_key"], public_line_of(host_keys[0])
    except (KeyError, TypeError, ValueError) as error:
        raise CommandFailed(f"the SSH route of {name} cannot be used: {error!r}") from error
    if where is None:
        raise CommandFailed(f"the sshd of instance {number} of {name} has no mapped port")
    host, _, port = where.rpartition(":")
    return SSHTarget(host, int(port), key, host_key)


def generate_keys() -> Keys:
    """A new host key and a new user key. Takes some tenths of a second."""
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
