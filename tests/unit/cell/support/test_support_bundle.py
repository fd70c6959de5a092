"""A support bundle of a cell with secrets in each place where there may be some: none is in the bundle."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tarfile
from pathlib import Path

import pytest

from cell.main import main
from cell.support import collecting
from cell.support.scrubbing import Scrubber
from common.lager import entry
from rep.redaction import REDACTED

pytestmark = pytest.mark.unit

SECRET = re.compile(r"geheim-\d+")
"""Every planted secret."""
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\ngeheim-1\n-----END PRIVATE KEY-----"
CONFIG = {
    "// note": "geheim-2",
    "cell_id": "cell-1",
    "bbs_address": "http://user:geheim-3@127.0.0.1:1",
    "locket_address": "127.0.0.1:2",
    "listen_addr": "127.0.0.1:3",
    "listen_addr_securable": "127.0.0.1:4",
    "post_setup_hook": "curl -u me:geheim-4 https://hook.example.com",
    "post_setup_user": "root",
    "garden_healthcheck_process_env": ["TOKEN=geheim-5"],
    "log_sinks": ["syslog+tcp://app:geheim-6@host:601", "file:/var/log/apps"],
    "redact_patterns": ["geheim-7|acme-[0-9]+-geheim-8"],
    "zone": "z1",
}
LOG = [
    entry("rep", "started", 1, {"cell-id": "cell-1", "password": "geheim-9"}, 0, rfc3339=True),
    entry("rep", "failed", 2, {"error": f"cannot read {PRIVATE_KEY}"}, 0, rfc3339=True),
    entry("rep", "failed", 2, {"error": "GET https://me:geheim-10@host/x: refused"}, 0, rfc3339=True),
    entry("rep", "failed", 2, {"error": "header Authorization: Bearer geheim-11"}, 0, rfc3339=True),
    entry("rep", "failed", 2, {"error": "got api_key=geheim-12"}, 0, rfc3339=True),
    entry("rep", "failed", 2, {"error": "acme-1-geheim-8"}, 0, rfc3339=False),
    {"app_guid": "x", "message": "a line of an app: geheim-13"},
]
PROGRAMS = {
    "journalctl": "\n".join([*map(json.dumps, LOG), "a plain line of an app: geheim-14"]),
    "systemctl": "ActiveState=active\nEnvironment=TOKEN=geheim-15\nExecStart={ path=/x ; argv[]=geheim-16 }",
    "docker": "guid-1\trunning\tUp 3 minutes\tbusybox\t0B",
    "nft": 'table inet diego_cell { comment "rules" }',
    "ip": "lo UNKNOWN 127.0.0.1/8",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that print what they would on a machine, and a rep.json."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / f"{name}.txt").write_text(text)
        program = programs / name
        program.write_text(f"#!/bin/sh\nexec cat {programs}/{name}.txt\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("cell.commands.support_bundle.require_root", lambda _reason: None)
    config = tmp_path / "rep.json"
    config.write_text(json.dumps(CONFIG))
    return config


def bundle(config: Path, path: Path) -> dict[str, str]:
    """The parts of a bundle by name, from the command."""
    assert main(["support-bundle", "--config", str(config), "--output", str(path)]) == 0
    parts = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            parts[member.name.partition("/")[2]] = file.read().decode()
    return parts


def test_no_planted_secret_is_in_it_and_what_helps_is(machine: Path, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    parts = bundle(machine, path)
    assert {name: SECRET.findall(text) for name, text in parts.items() if SECRET.search(text)} == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    settings = json.loads(parts["configuration.json"])
    assert settings["zone"] == {"value": "z1", "source": "file"}
    assert settings["bbs_address"]["value"] == "http://127.0.0.1:1"
    assert settings["log_sinks"]["value"] == ["syslog+tcp://host:601", "file:/var/log/apps"]
    assert settings["post_setup_hook"]["value"] == REDACTED
    log = [json.loads(line) for line in parts["log.jsonl"].splitlines()]
    assert log[0]["data"] == {"cell-id": "cell-1", "password": REDACTED}
    assert log[-1] == {"lines-left-out": 2}
    assert "ActiveState=active" in parts["service.txt"]
    assert "guid-1\trunning" in parts["containers.txt"]
    assert "table inet diego_cell" in parts["packet-table.txt"]
    assert json.loads(parts["versions.json"])["python"] == ".".join(map(str, sys.version_info[:3]))
    assert parts["outcomes.json"].startswith("not collected: cell cell-1: ")


def test_a_part_that_fails_hangs_or_floods_harms_no_other(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    (programs / "nft").write_text("#!/bin/sh\necho no such table >&2; exit 1\n")
    (programs / "docker").write_text("#!/bin/sh\nexec sleep 600\n")
    (programs / "journalctl.txt").write_text(f"{json.dumps(LOG[0])}\n" * 1000)
    monkeypatch.setattr(collecting, "PART_LIMIT_S", 0.5)
    monkeypatch.setattr(collecting, "PART_BYTES", 5000)
    parts = bundle(machine, tmp_path / "bundle.tar.gz")
    assert "not collected: no such table" in parts["packet-table.txt"]
    assert parts["containers.txt"] == "not collected: it took more than 0.5 s\n"
    assert len(parts["log.jsonl"]) == 5000
    assert "127.0.0.1/8" in parts["network.txt"]


@pytest.mark.parametrize("content", ['{"cell_id": 1}', "{", '{"redact_patterns": ["("]}'])
def test_a_file_that_cannot_be_read_is_an_error(
    machine: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    machine.write_text(content)
    assert main(["support-bundle", "--config", str(machine)]) == 1
    assert capsys.readouterr().err.startswith("cell support-bundle: ")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("https://a:b@host:1/path?token=c", "https://host:1"),
        ("file:/var/log/apps", "file:/var/log/apps"),
        ("stdout", "stdout"),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    config = Scrubber().config({"docker_host": {"value": address, "source": "file"}})
    assert config == {"docker_host": {"value": shown, "source": "file"}}
