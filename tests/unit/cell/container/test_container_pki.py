"""Certificates and secrets of the containers."""

from __future__ import annotations

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from cryptography import x509

from bbs.client.tls import client_context, own_certificate
from cell.container import pki
from cell.container.pki import ensure_authority, ensure_ssh_secrets, own_identity
from cell.development.certs import Authority
from cell.errors import CommandError

pytestmark = pytest.mark.unit


def test_the_authority_stays_until_it_expires_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure_authority(tmp_path / "shared").certificate
    assert ensure_authority(tmp_path / "shared").certificate == first
    monkeypatch.setattr(pki, "FRESH", timedelta(days=1000))
    assert ensure_authority(tmp_path / "shared").certificate != first


def test_only_the_owner_can_read_what_is_secret(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    ensure_authority(shared)
    ensure_ssh_secrets(shared)
    assert {stat.S_IMODE(path.stat().st_mode) for path in shared.iterdir()} == {0o600}
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700


def test_an_identity_names_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "own_addresses", lambda: ["172.20.0.7"])
    monkeypatch.setattr("socket.gethostname", lambda: "c0ffee")
    ensure_authority(tmp_path / "shared")
    files = own_identity(tmp_path / "shared", tmp_path / "own", "cell-2", "cell")
    names = (
        own_certificate(files.cert_file).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    )
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "cell-2", "c0ffee", "cell"}
    assert {str(each) for each in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "172.20.0.7"}
    context = client_context(files.ca_file, files.cert_file, files.key_file)
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_before_the_control_plane_there_is_no_identity(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="the control plane creates it"):
        own_identity(tmp_path, tmp_path / "own", "cell-1")


def test_a_key_that_is_not_of_the_authority_is_not_used(tmp_path: Path) -> None:
    Authority.create("one").store(tmp_path)
    (tmp_path / "ca.crt").write_text("no certificate")
    assert Authority.load(tmp_path) is None


def test_the_secrets_of_the_ssh_proxy_stay(tmp_path: Path) -> None:
    host_key, password = ensure_ssh_secrets(tmp_path)
    assert asyncssh.read_private_key(host_key).get_algorithm() == "ssh-ed25519"
    assert len(password) >= 20
    assert ensure_ssh_secrets(tmp_path) == (host_key, password)
