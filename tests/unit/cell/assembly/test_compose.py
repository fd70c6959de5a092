"""Identities of a composed cell towards its peers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bbs.client.identity import IdentityFiles
from cell.assembly.cell import locket_identity
from cell.development.certs import Authority
from rep.config import RepConfig

pytestmark = pytest.mark.unit


def _config(rep: IdentityFiles) -> RepConfig:
    return RepConfig(ca_cert_file=str(rep.ca_file), cert_file=str(rep.cert_file), key_file=str(rep.key_file))


def test_locket_sees_the_rep_unless_told_otherwise(authority: Authority, tmp_path: Path) -> None:
    rep, locket = authority.issue(tmp_path, "rep"), authority.issue(tmp_path, "locket")
    config = _config(rep)
    own = replace(
        config,
        locket_ca_cert_file=str(locket.ca_file),
        locket_client_cert_file=str(locket.cert_file),
        locket_client_key_file=str(locket.key_file),
    )
    seen = [identity.files for identity in map(locket_identity, (config, own)) if identity]
    assert seen == [rep, locket]


def test_a_cell_without_certificates_shows_none() -> None:
    assert locket_identity(RepConfig()) is None
