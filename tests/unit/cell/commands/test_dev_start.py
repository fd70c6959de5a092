"""Preparation of a development cell: paths, engine, redaction of its log."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from cell.development import service
from cell.main import main
from rep.config import RepConfig

pytestmark = [
    pytest.mark.unit,
    pytest.mark.skipif(os.geteuid() != 0, reason="a development cell is root's"),
]


class Started:
    """What would have run."""

    def __init__(self) -> None:
        self.settings: service.Settings
        self.configs: Sequence[RepConfig]
        self.identities: dict[str, Any]
        self.log: dict[str, Any] = {}
        self.engines: list[str] = []

    def go(self, *words: str | Path) -> int:
        return main(["dev", *map(str, words), "--any-ports"])


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """Works in tmp_path; nothing of the machine is used but one slot."""
    seen = Started()

    async def run(settings: service.Settings, configs: Sequence[RepConfig], identities: Any) -> None:
        seen.settings, seen.configs, seen.identities = settings, configs, identities

    def prepare(_settings: service.Settings, docker_host: str, _until: object) -> service.Prepared:
        seen.engines.append(docker_host)
        return service.Prepared("stack:1", None)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "_run", run)
    monkeypatch.setattr(service, "_prepare", prepare)
    install = "cell.assembly.lagerlog.install"
    monkeypatch.setattr(install, lambda _stream, **settings: seen.log.update(settings))
    return seen


def test_a_relative_state_folder_is_written_absolutely(started: Started, tmp_path: Path) -> None:
    """--state-dir RELATIVE gives absolute TLS paths, which other programs can use."""
    assert started.go("--state-dir", "here/state", "--tls") == 0
    state = tmp_path / "here" / "state"
    files = started.identities["client"]
    assert started.settings.state_dir == state
    assert (files.ca_file, files.key_file) == (state / "tls/ca.crt", state / "tls/client.key")
    (config,) = started.configs
    assert config.cert_file == str(state / "tls/rep.crt")
    assert Path(config.cache_path).is_relative_to(state)


def test_the_engine_of_the_configuration_makes_the_images(started: Started, tmp_path: Path) -> None:
    """With --config and another docker_host, images are made where the cells look for them."""
    config = tmp_path / "rep.json"
    config.write_text(json.dumps({"docker_host": "unix:///run/other.sock"}))
    assert started.go("--state-dir", tmp_path / "a", "--config", config) == 0
    assert started.engines == ["unix:///run/other.sock"]
    assert [each.docker_host for each in started.configs] == started.engines
    assert started.go("--state-dir", tmp_path / "b") == 0
    assert started.engines[1] == RepConfig().docker_host


def test_the_engine_s_address_is_used_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def client(*, base_url: str, version: str) -> Any:
        asked.append(base_url)
        raise docker.errors.DockerException("no such socket")

    monkeypatch.setattr("docker.APIClient", client)
    monkeypatch.setattr("cell.assembly.lagerlog.install", lambda *_, **__: None)
    config = tmp_path / "rep.json"
    config.write_text(json.dumps({"docker_host": "unix:///run/other.sock"}))
    words = ["--state-dir", str(tmp_path / "state"), "--any-ports", "--config", str(config)]
    assert main(["dev", *words]) == 1
    assert asked == ["unix:///run/other.sock"]
    assert "the container engine at unix:///run/other.sock does not answer" in capsys.readouterr().err


def test_the_log_tells_no_secrets(started: Started, tmp_path: Path) -> None:
    """The component log of a development cell is redacted, also by the patterns of a configuration."""
    config = tmp_path / "rep.json"
    config.write_text(json.dumps({"redact_patterns": ["swordfish"]}))
    assert started.go("--state-dir", tmp_path / "state", "--config", config) == 0
    told = started.log["redact"]({"image_password": "x", "text": "a swordfish", "guid": "g"})
    assert told == {"image_password": "*REDACTED*", "text": "*REDACTED*", "guid": "g"}


@pytest.mark.parametrize("number", ["-1", "10", "x"])
def test_there_is_a_number_of_cells_that_fits(
    number: str, started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started.go("--state-dir", tmp_path / "state", "--cells", number) == 2
    assert "cell dev: error: Invalid value for " in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_configuration_that_cannot_be_used_touches_nothing(
    started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rep.json"
    config.write_text("{")
    assert started.go("--state-dir", tmp_path / "state", "--config", config) == 1
    assert capsys.readouterr().err.startswith("cell dev: ")
    assert not (tmp_path / "state").exists()
    config.write_text(json.dumps({"redact_patterns": ["("]}))
    assert started.go("--state-dir", tmp_path / "state", "--config", config) == 1
    assert "redact_patterns" in capsys.readouterr().err
