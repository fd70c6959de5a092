"""The compose file: valid, loaded by the Compose of this machine, and as closed as it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.compose.conftest import COMPOSE_FILE, compose_command

pytestmark = pytest.mark.docker  # docker-compose is installed with the programs of these tests

FOLDER = COMPOSE_FILE.parent
OWN_IMAGES = ("control-plane", "cell", "router", "ssh-proxy")


def loaded(*options: str, **variables: str) -> dict[str, Any]:
    """The file as Compose understands it."""
    done = subprocess.run(
        [*compose_command(), "-f", str(COMPOSE_FILE), *options, "config"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def published(document: dict[str, Any]) -> list[str]:
    """Ports on the machine as texts, of any form that a Compose prints."""
    ports = [port for service in document["services"].values() for port in service.get("ports", ())]
    return [
        port if isinstance(port, str) else f"{port.get('host_ip', '')}:{port['published']}:{port['target']}"
        for port in ports
    ]


def test_the_file_is_valid_by_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_a_profile() -> None:
    assert set(loaded()["services"]) >= set(OWN_IMAGES)
    everything = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    assert {name for name, service in everything.items() if service.get("profiles") == ["metrics"]} == {
        "prometheus",
        "grafana",
    }
    assert set(loaded("--profile", "metrics")["services"]) == set(everything)


def test_ports_are_on_loopback_and_can_be_moved() -> None:
    document = loaded("--profile", "metrics", ROUTER_PORT="18000")
    ports = published(document)
    assert len(ports) == 10
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert any(port.startswith("127.0.0.1:18000:8000") for port in ports)


def test_each_service_is_watched_and_has_time_to_end() -> None:
    for name, service in loaded("--profile", "metrics")["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["stop_grace_period"], name
        assert not service.get("privileged"), name


def test_only_the_cell_has_capabilities() -> None:
    services = loaded()["services"]
    assert services.pop("cell")["cap_add"] == ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]
    for name in OWN_IMAGES:
        if name in services:
            assert services[name]["cap_drop"] == ["ALL"], name
            assert services[name]["read_only"], name
            assert services[name]["user"] == "diego-cell", name


def test_prometheus_and_grafana_find_their_files(tmp_path: Path) -> None:
    for service in loaded("--profile", "metrics")["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0] if isinstance(volume, str) else volume["source"]
            if source.startswith(("/", ".")):
                assert (FOLDER / source).exists(), source
    rules, scraper = tmp_path / "rules.yml", tmp_path / "scraper"
    shutil.copy(FOLDER.parent / "prometheus/diego-cell.rules.yml", rules)
    scraper.mkdir()
    for name in ("ca.crt", "scraper.crt", "scraper.key"):
        (scraper / name).touch()
    text = (FOLDER / "prometheus.yml").read_text()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        text.replace("/etc/prometheus/diego-cell.rules.yml", str(rules)).replace("/scraper/", f"{scraper}/")
    )
    done = subprocess.run(
        ["promtool", "check", "config", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
