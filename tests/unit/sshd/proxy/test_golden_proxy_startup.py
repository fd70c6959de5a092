"""Recorded failing starts of ssh-proxy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cell.main import main
from sshd.proxy.program import run
from tests.support.certificates import self_signed
from tests.support.paths import GOLDEN_FILES

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads((GOLDEN_FILES / "lifecycle/ssh_proxy_startup.json").read_text())


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One self-signed certificate, for ourselves and as the CA."""
    folder = tmp_path_factory.mktemp("certs")
    files = self_signed(folder, "client")
    (folder / "ca.crt").write_bytes(files.ca_file.read_bytes())
    return folder


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_start(case: dict[str, Any], certs: Path, keys: Any, port: int, tmp_path: Path, capfd: Any) -> None:
    host_key = json.dumps(keys.host["rsa"])[1:-1]
    values = {
        "ROOT": str(tmp_path),
        "PORT": str(port),
        "CERTS": str(certs),
        "HOSTKEY": host_key,
        "PORT2": "0",
    }
    arguments = list(case["args"])
    files = dict(case["files"])
    for name, text in values.items():
        arguments = [argument.replace("{" + name + "}", text) for argument in arguments]
        files = {path: content.replace("{" + name + "}", text) for path, content in files.items()}
    for path, content in files.items():
        (tmp_path / path).write_text(content)
    assert run(Path(arguments[1])) == case["exit"]
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    seen = [
        {
            "message": record["message"],
            "log_level": record["log_level"],
            "error": record["data"].get("error"),
        }
        for record in records
    ]
    for record, wanted in zip(seen, case["records"], strict=True):
        if wanted["error"] == "{REASON}":
            assert record["error"]
            wanted = wanted | {"error": record["error"]}
        assert record == wanted


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"log_level":"loud"}', "{}", '{"log_level":"info","idle_connection_timeout":"soon"}'],
)
def test_a_file_that_makes_no_sense(content: str, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "config.json").write_text(content)
    assert run(tmp_path / "config.json") == 2
    assert json.loads(capfd.readouterr().out)["message"] == "ssh-proxy.failed-to-parse-config"


def test_keys_without_effect_are_named(tmp_path: Path, capfd: Any) -> None:
    given = {"bbs_max_idle_conns_per_host": 5, "bbs_client_session_cache_size": 0, "log_level": "info"}
    (tmp_path / "config.json").write_text(json.dumps(given))
    run(tmp_path / "config.json")
    record = json.loads(capfd.readouterr().out.splitlines()[0])
    assert record["message"] == "ssh-proxy.key-without-effect"
    assert record["data"]["key"] == "bbs_max_idle_conns_per_host"


def test_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cell", "ssh-proxy", "-config", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["data"]["error"] == f"open {tmp_path}/none: no such file or directory"


def document(certs: Path, keys: Any, **changes: Any) -> dict[str, Any]:
    """A configuration with which the proxy starts, and changes to it."""
    return {
        "address": "127.0.0.1:0",
        "bbs_address": "https://127.0.0.1:1",
        "bbs_ca_cert": str(certs / "ca.crt"),
        "bbs_client_cert": str(certs / "client.crt"),
        "bbs_client_key": str(certs / "client.key"),
        "host_key": keys.host["rsa"],
        "log_level": "error",
    } | changes


@pytest.mark.parametrize(
    ("changes", "message", "error"),
    [
        (
            {"enable_diego_auth": True},
            "configure-failed",
            "diego_credentials is required for Diego authentication",
        ),
        (
            {"enable_diego_auth": True, "diego_credentials": ""},
            "configure-failed",
            "diego_credentials is required for Diego authentication",
        ),
        (
            {"allowed_macs": "hmac-sha2-256,hmac-sha256"},
            "configure-failed",
            'allowed_macs: "hmac-sha256" is not known; known are hmac-sha1, hmac-sha1-96, hmac-sha2-256, '
            "hmac-sha2-256-etm@openssh.com, hmac-sha2-512, hmac-sha2-512-etm@openssh.com",
        ),
        ({"allowed_ciphers": "aes128-ctr, aes256-ctr"}, "configure-failed", 'allowed_ciphers: " aes256-ctr"'),
        ({"allowed_key_exchanges": "curve25519"}, "configure-failed", 'allowed_key_exchanges: "curve25519"'),
        (
            {"backends_tls_required": True},
            "failed-to-get-tls-config",
            "backends_tls_required needs backends_tls_enabled",
        ),
    ],
    ids=["no password", "empty password", "mac", "cipher with a blank", "key exchange", "required TLS"],
)
def test_a_configuration_that_lets_in_everybody_or_nobody(
    changes: dict[str, Any], message: str, error: str, certs: Path, keys: Any, tmp_path: Path, capfd: Any
) -> None:
    """An empty password for all, and a word that no client will match, are refused at the start."""
    (tmp_path / "config.json").write_text(json.dumps(document(certs, keys, **changes)))
    assert run(tmp_path / "config.json") == 1
    record = json.loads(capfd.readouterr().out)
    assert record["message"] == f"ssh-proxy.{message}"
    assert record["data"]["error"].startswith(error)


def test_an_identity_for_the_log_agent_that_is_not_there(
    certs: Path, keys: Any, tmp_path: Path, capfd: Any
) -> None:
    names = ("ca", "cert", "key")
    log_agent = {f"loggregator_{name}_path": str(tmp_path / name) for name in names}
    (tmp_path / "config.json").write_text(json.dumps(document(certs, keys, loggregator=log_agent)))
    assert main(["ssh-proxy", "-config", str(tmp_path / "config.json")]) == 1
    record = json.loads(capfd.readouterr().out)
    assert record["message"] == "ssh-proxy.failed-to-initialize-metron-client"
    assert str(tmp_path / "ca") in record["data"]["error"]
