"""Certificates of the containers: one CA in a shared volume, and an identity for each container.

Every container can issue certificates. The containers trust each other; apps do not see the volume.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import psutil
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bbs.client.identity import IdentityFiles
from cell.development.certs import LOOPBACK, Authority, development_instance_authority
from cell.development.statefolder import open_private
from cell.errors import CommandError

CA_NAME: Final = "diego-cell compose"
HOST_KEY: Final = "ssh_host_key"
PASSWORD: Final = "ssh_password"
FRESH: Final = timedelta(days=30)
"""A CA with less time left is replaced at a start of the control plane."""


def ensure_authority(shared: Path) -> Authority:
    """The CA of the volume, and that of instances; created if missing, replaced before they expire.

    Raises OSError.
    """
    with _locked(shared):
        authority = Authority.load(shared, FRESH)
        if authority is None:
            authority = Authority.create(CA_NAME)
            authority.store(shared)
        development_instance_authority(shared)
        return authority


def own_identity(shared: Path, folder: Path, name: str, *names: str) -> IdentityFiles:
    """Issue the identity of this container: its names, its addresses and loopback.

    Raises CommandError if the control plane has not created the CA yet, OSError.
    """
    authority = Authority.load(shared)
    if authority is None:
        raise CommandError(f"{shared} has no valid CA: the control plane creates it at its start")
    alternatives = [*LOOPBACK, *map(x509.DNSName, (name, socket.gethostname(), *names))]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in own_addresses()]
    return authority.issue(folder, name, names=alternatives)


def own_addresses() -> list[str]:
    """The IPv4 addresses of this container for others."""
    links = [each for every in psutil.net_if_addrs().values() for each in every]
    addresses = [ipaddress.ip_address(each.address) for each in links if each.family is socket.AF_INET]
    return [str(each) for each in addresses if not (each.is_loopback or each.is_link_local)]


def ensure_ssh_secrets(shared: Path) -> tuple[Path, str]:
    """The host key of the ssh proxy and its password, created if missing. Raises OSError."""
    with _locked(shared):
        host_key, password = shared / HOST_KEY, shared / PASSWORD
        if not host_key.exists():
            key = ed25519.Ed25519PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            _write(host_key, pem.decode("ascii"))
        if not password.exists():
            _write(password, secrets.token_urlsafe(18) + "\n")
        return host_key, password.read_text().strip()


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with open_private(fresh, "w") as file:
        file.write(text)
    fresh.replace(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Containers start at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
