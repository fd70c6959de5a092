"""Configurations that the containers write, and their variables."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bbs.client.identity import IdentityFiles
from cell.assembly import configcheck
from cell.container import cell as cell_role
from cell.container.__main__ import main
from cell.container.cell import engine_command, lowest_free_slot, rep_config
from cell.container.components import ssh_proxy_config, target, write_target
from cell.container.network import guard
from cell.container.pki import ensure_authority, own_identity
from cell.container.settings import CellSettings, PublishedPorts
from cell.development.endpoints import read_endpoints
from cell.errors import CommandError
from sshd.proxy.config import parse

pytestmark = pytest.mark.unit


@pytest.fixture
def identity(tmp_path: Path) -> IdentityFiles:
    ensure_authority(tmp_path / "shared")
    return own_identity(tmp_path / "shared", tmp_path / "own", "cell-1")


def test_the_rep_starts_with_its_configuration(
    tmp_path: Path, identity: IdentityFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_role, "SHARED", tmp_path / "shared")
    with lowest_free_slot(tmp_path / "cells") as slot:
        settings = CellSettings.of({"CELL_MEMORY_MB": "512"})
        document = rep_config(slot, settings, identity, "172.20.0.7", "diego-cell/cellfs:1", tmp_path)
    path = tmp_path / "rep.json"
    path.write_text(json.dumps(document))
    report = configcheck.check(path)
    assert (report.problems, report.warnings) == ((), ())
    config = report.config
    assert (config.cell_id, config.zone, config.memory_mb, config.on_stop) == (
        "cell-1",
        "z1",
        "512",
        "destroy",
    )
    assert config.rep_url == "https://172.20.0.7:1801"
    assert config.loggregator.enabled


def test_each_cell_has_the_lowest_free_folder(tmp_path: Path) -> None:
    with lowest_free_slot(tmp_path) as first, lowest_free_slot(tmp_path) as second:
        assert [first.cell_id, second.cell_id] == ["cell-1", "cell-2"]
    with lowest_free_slot(tmp_path) as again:
        assert again == first


def test_the_engine_keeps_its_data_in_the_folder_of_the_cell(tmp_path: Path) -> None:
    settings = CellSettings.of({"DOCKERD_OPTIONS": "--insecure-registry registry:5000"})
    with lowest_free_slot(tmp_path) as slot:
        command = engine_command(slot, settings)
    assert f"--data-root={tmp_path}/cell-1/docker" in command
    assert command[-2:] == ["--insecure-registry", "registry:5000"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"CELL_MEMORY_MB": "much"}, "CELL_MEMORY_MB is 'much': expected a positive number"),
        ({"CELL_DISK_MB": "0"}, "CELL_DISK_MB is '0': expected a positive number"),
        ({"CELL_ON_STOP": "run"}, "CELL_ON_STOP is 'run': expected hand-over, evacuate, destroy"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        CellSettings.of(variables)


def test_empty_variables_are_defaults() -> None:
    assert CellSettings.of({"CELL_MEMORY_MB": "", "CELL_ON_STOP": ""}) == CellSettings.of({})


def test_the_ssh_proxy_accepts_its_configuration(identity: IdentityFiles) -> None:
    config = parse(ssh_proxy_config(identity, "key", "secret"))
    assert (config.enable_diego_auth, config.diego_credentials) == (True, "secret")
    assert config.without_effect == ()


def test_commands_outside_reach_the_published_ports(tmp_path: Path) -> None:
    ports = PublishedPorts.of({"BBS_PORT": "18889", "ROUTER_PORT": "80"})
    write_target(tmp_path, target("127.0.0.1", ports), "secret")
    found = read_endpoints(tmp_path)
    assert (found.bbs, found.locket) == ("https://127.0.0.1:18889", "127.0.0.1:8891")
    assert (found.file_server, found.logs) == ("http://127.0.0.1:8080", "http://127.0.0.1:8087")
    assert found.file_server_of_cells == "http://control-plane:8080"
    assert found.router == "http://localhost:80"
    assert found.tls == (tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
    assert (tmp_path / "ssh_password").read_text() == "secret\n"


def test_apps_reach_the_router_and_apps_but_no_service_of_the_cells_networks() -> None:
    text = guard([IPv4Network("172.20.0.0/16"), IPv4Network("172.21.0.0/16")])
    assert (
        "ip saddr 10.255.0.0/16 ip daddr { 172.20.0.0/16, 172.21.0.0/16 } ct state new jump services" in text
    )
    assert "tcp dport { 8000, 61001-65535 } return" in text


@pytest.mark.parametrize("arguments", [[], ["cells"], ["cell", "cell"]])
def test_an_unknown_role_is_refused_with_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == "expected one of cell, control-plane, router, ssh-proxy\n"
