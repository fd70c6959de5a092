"""The reference of the configuration keys is current, complete, and fits the examples."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from cell.assembly.configcheck import check
from cell.documentation.configuration import DOCUMENT, document
from cell.documentation.keys import FIRST_RELEASE, Key, proxy_sections, rep_sections
from cell.examples import EXAMPLES
from rep.config import RepConfig, parse
from sshd.proxy.config import ProxyConfig, load

pytestmark = pytest.mark.unit

REP = [key for section in rep_sections() for key in section.keys]
PROXY = [key for section in proxy_sections() for key in section.keys]


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run `python -m cell.documentation.configuration`"


def test_every_key_is_described_once() -> None:
    described = [key.name for key in REP]
    effective = [name.removeprefix("loggregator.") for name, _, _ in RepConfig().effective()]
    assert sorted(described) == sorted(effective)
    assert len(set(described)) == len(described)
    assert {key.name for key in PROXY} == {item.name for item in fields(ProxyConfig) if item.compare}


@pytest.mark.parametrize("key", [*REP, *PROXY], ids=lambda key: key.name)
def test_a_key_says_what_it_does_and_since_when(key: Key) -> None:
    assert key.effect.endswith(".")
    assert "Since" not in key.effect
    assert key.kind
    assert tuple(map(int, key.since.split("."))) >= tuple(map(int, FIRST_RELEASE.split(".")))


def test_the_example_of_a_cell_lacks_only_what_an_operator_must_give(tmp_path: Path) -> None:
    text = (EXAMPLES / "rep.json").read_text()
    assert parse(text).warnings == (), "comments are no unknown keys"
    report = check(EXAMPLES / "rep.json")
    missing = ["cell_id", '"cert_file": cannot read', "stack"]
    assert [each for each in report.problems if not any(name in each for name in missing)] == []
    assert any("cell_id" in each for each in report.problems)


def test_the_example_of_the_proxy_can_be_read() -> None:
    config = load(EXAMPLES / "ssh_proxy.json")
    known = {key.name for key in PROXY}
    written = json.loads((EXAMPLES / "ssh_proxy.json").read_text())
    assert [key for key in written if key not in known and not key.startswith("//")] == []
    assert (config.host_key, config.uaa_password, config.diego_credentials) == ("", "", "")
