"""The offered algorithms: the defaults, and selection by a comma-separated list of names.

A custom list replaces the default, in its own order. Unknown names are dropped; the proxy instead refuses to
start with one (:func:`unknown_names`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from asyncssh.kex import get_kex_algs

STRICT_KEX_SERVER = b"kex-strict-s-v00@openssh.com"

KEY_EXCHANGES = (b"curve25519-sha256@libssh.org",)
CIPHERS = (b"aes128-gcm@openssh.com", b"aes256-ctr", b"aes192-ctr", b"aes128-ctr")
MACS = (b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-256")

KNOWN_KEY_EXCHANGES = frozenset(
    {
        b"curve25519-sha256",
        b"curve25519-sha256@libssh.org",
        b"ecdh-sha2-nistp256",
        b"ecdh-sha2-nistp384",
        b"ecdh-sha2-nistp521",
        b"diffie-hellman-group1-sha1",
        b"diffie-hellman-group14-sha1",
        b"diffie-hellman-group14-sha256",
        b"diffie-hellman-group16-sha512",
    }
)
KNOWN_CIPHERS = frozenset(
    {
        b"aes128-ctr",
        b"aes192-ctr",
        b"aes256-ctr",
        b"aes128-gcm@openssh.com",
        b"aes256-gcm@openssh.com",
        b"chacha20-poly1305@openssh.com",
        b"aes128-cbc",
        b"3des-cbc",
        b"arcfour",
        b"arcfour128",
        b"arcfour256",
    }
)
KNOWN_MACS = frozenset(
    {
        b"hmac-sha2-256-etm@openssh.com",
        b"hmac-sha2-512-etm@openssh.com",
        b"hmac-sha2-256",
        b"hmac-sha2-512",
        b"hmac-sha1",
        b"hmac-sha1-96",
    }
)

POST_QUANTUM = b"mlkem768x25519-sha256"
"""Post-quantum key exchange; allowed in the proxy's configuration."""

RSA_SIGNATURES = (b"rsa-sha2-256", b"rsa-sha2-512", b"ssh-rsa")

USER_KEY_SIGNATURES = (
    b"ssh-ed25519",
    b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    *(b"rsa-sha2-256", b"rsa-sha2-512", b"ssh-rsa"),
)
"""``server-sig-algs`` of the extension message: without it, OpenSSH does not use an RSA user key."""


@dataclass(frozen=True, slots=True)
class Algorithms:
    """The offer of a server, best first. ``host_key_algorithms`` restricts those of the key's type."""

    key_exchanges: tuple[bytes, ...] = KEY_EXCHANGES
    ciphers: tuple[bytes, ...] = CIPHERS
    macs: tuple[bytes, ...] = MACS
    host_key_algorithms: tuple[bytes, ...] | None = None


def proxy_key_exchanges() -> frozenset[bytes]:
    """Key exchanges allowed in the proxy's configuration: the daemon's, and the post-quantum one if
    available.
    """
    return KNOWN_KEY_EXCHANGES | ({POST_QUANTUM} & frozenset(get_kex_algs()))


def unknown_names(names: str, known: Collection[bytes]) -> list[str]:
    """The unknown elements of a comma-separated list; elements are not trimmed."""
    elements = names.split(",") if names else []
    return [name for name in elements if name.encode("utf-8", "surrogateescape") not in known]


def choose(names: str, default: tuple[bytes, ...], known: frozenset[bytes]) -> tuple[bytes, ...]:
    """The algorithms of a comma-separated list; empty means the default. Elements are not trimmed."""
    if not names:
        return default
    return tuple(name for name in names.encode("utf-8", "surrogateescape").split(b",") if name in known)


def algorithms(
    ciphers: str = "",
    macs: str = "",
    key_exchanges: str = "",
    host_key_algorithms: str = "",
    *,
    known_key_exchanges: frozenset[bytes] = KNOWN_KEY_EXCHANGES,
) -> Algorithms:
    """The offer that four comma-separated lists describe."""
    chosen = tuple(host_key_algorithms.encode("utf-8", "surrogateescape").split(b","))
    return Algorithms(
        key_exchanges=choose(key_exchanges, KEY_EXCHANGES, known_key_exchanges),
        ciphers=choose(ciphers, CIPHERS, KNOWN_CIPHERS),
        macs=choose(macs, MACS, KNOWN_MACS),
        host_key_algorithms=chosen if host_key_algorithms else None,
    )


def host_key_signatures(key_algorithm: bytes, algorithms: Algorithms) -> tuple[bytes, ...]:
    """The offered signature algorithms for a host key type (``ssh-rsa``, ``ssh-ed25519``, ...)."""
    own = RSA_SIGNATURES if key_algorithm == b"ssh-rsa" else (key_algorithm,)
    if algorithms.host_key_algorithms is None:
        return own
    return tuple(name for name in algorithms.host_key_algorithms if name in own)
