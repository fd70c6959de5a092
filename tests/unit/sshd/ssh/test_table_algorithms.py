"""Algorithm lists: every known name, and empty, odd and unknown lists."""

from __future__ import annotations

import pytest

from sshd.ssh.algorithms import (
    KNOWN_CIPHERS,
    POST_QUANTUM,
    Algorithms,
    algorithms,
    host_key_signatures,
    proxy_key_exchanges,
    unknown_names,
)

pytestmark = pytest.mark.unit

DEFAULTS = {
    "key_exchanges": ("curve25519-sha256@libssh.org",),
    "ciphers": ("aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"),
    "macs": ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"),
}
NAMES = {
    "key_exchanges": (
        *("curve25519-sha256", "curve25519-sha256@libssh.org"),
        *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        *("diffie-hellman-group1-sha1", "diffie-hellman-group14-sha1"),
        *("diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512"),
    ),
    "ciphers": (
        *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
        *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"),
    ),
    "macs": (
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
        *("hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-sha1-96"),
    ),
}
DROPPED = (
    *("bogus", " aes128-ctr", "AES128-CTR", "none"),
    *("diffie-hellman-group-exchange-sha1", "diffie-hellman-group-exchange-sha256"),
)


def chosen(kind: str, names: str) -> tuple[str, ...]:
    offer = algorithms(**{kind: names})
    found: tuple[bytes, ...] = getattr(offer, kind)
    return tuple(name.decode() for name in found)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_an_empty_list_is_the_default(kind: str) -> None:
    assert chosen(kind, "") == DEFAULTS[kind]
    assert getattr(Algorithms(), kind) == tuple(name.encode() for name in DEFAULTS[kind])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind]])
def test_a_name_of_the_list_stays(kind: str, name: str) -> None:
    assert chosen(kind, name) == (name,)
    assert chosen(kind, f"bogus,{name}") == (name,)


@pytest.mark.parametrize("kind", NAMES)
def test_a_list_keeps_its_own_order(kind: str) -> None:
    backwards = NAMES[kind][::-1]
    assert chosen(kind, ",".join(backwards)) == backwards


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.parametrize("kind", NAMES)
def test_any_other_name_is_dropped(kind: str, name: str) -> None:
    assert chosen(kind, name) == ()


@pytest.mark.parametrize(
    ("key", "signatures"),
    [
        ("ssh-rsa", ("rsa-sha2-256", "rsa-sha2-512", "ssh-rsa")),
        ("ssh-ed25519", ("ssh-ed25519",)),
        ("ecdsa-sha2-nistp256", ("ecdsa-sha2-nistp256",)),
    ],
)
def test_signatures_of_a_host_key(key: str, signatures: tuple[str, ...]) -> None:
    found = host_key_signatures(key.encode(), Algorithms())
    assert found == tuple(name.encode() for name in signatures)


def test_post_quantum_key_exchange_is_for_the_proxy_only() -> None:
    """The daemon drops the name as the recordings show; a stock client agrees on it with the proxy."""
    assert algorithms(key_exchanges=POST_QUANTUM.decode()).key_exchanges == ()
    known = proxy_key_exchanges()
    assert POST_QUANTUM in known
    offered = algorithms(key_exchanges=POST_QUANTUM.decode(), known_key_exchanges=known)
    assert offered.key_exchanges == (POST_QUANTUM,)


@pytest.mark.parametrize(
    ("names", "unknown"),
    [("", []), ("aes128-ctr", []), ("aes128-ctr,", [""]), ("aes-128,aes256-ctr, x", ["aes-128", " x"])],
)
def test_names_that_are_not_known(names: str, unknown: list[str]) -> None:
    assert unknown_names(names, KNOWN_CIPHERS) == unknown
