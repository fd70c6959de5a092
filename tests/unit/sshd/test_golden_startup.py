"""Recorded starts and ends of the daemon: flags, keys, addresses, signals, log records."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import GOLDEN_FILES
from tests.support.thorough import sampled

pytestmark = pytest.mark.unit

CASES: list[dict[str, Any]] = json.loads((GOLDEN_FILES / "lifecycle/sshd_startup.json").read_text())
FREE = {
    "TIME": r"\d+\.\d+",
    "RFC3339": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "REASON": r"[^\n]*",
}


def matches(wanted: str, got: str, *, prefix: bool = False) -> bool:
    pattern = re.escape(wanted)
    for name, free in FREE.items():
        pattern = pattern.replace(re.escape("{" + name + "}"), free)
    return re.fullmatch(pattern + (".*" if prefix else ""), got, re.DOTALL) is not None


def fill(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        for name, text in values.items():
            value = value.replace("{" + name + "}", text)
        return value
    if isinstance(value, list):
        return [fill(item, values) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, values) for key, item in value.items()}
    return value


@contextmanager
def server(case: dict[str, Any], port: int) -> Iterator[None]:
    """The case's own listener, if it has one."""
    if case["server"] is None:
        yield
        return
    with socket.create_server(("127.0.0.1", port)):
        yield


def wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return


@pytest.mark.parametrize("recorded", sampled(CASES, 16), ids=lambda case: case["name"])
def test_start(recorded: dict[str, Any], daemons: Any, keys: Any, tmp_path: Path, port: int) -> None:
    argv0 = recorded.get("argv0", daemons.argv0)
    case = fill(
        recorded,
        {"PORT": str(port), "HOSTKEY": keys.host["rsa"], "AUTHKEY": keys.authorized, "ARGV0": argv0},
    )
    with server(case, port):
        process = daemons.start(argv0, case["args"], tmp_path, case["env"], subprocess.PIPE, subprocess.PIPE)
        status: Any
        if "signal" in case or case["exit"] == "running":
            wait_until_listening(port, process)
            if "signal" in case:
                process.send_signal(signal.Signals[f"SIG{case['signal']['name']}"])
            else:
                assert process.poll() is None
                process.kill()
        out, err = process.communicate(timeout=20)
    code = process.returncode
    status = code if code >= 0 else f"signal {signal.Signals(-code).name[3:]}"
    assert status == ("signal KILL" if case["exit"] == "running" else case["exit"]), err.decode()
    assert matches(case["stdout"], out.decode()), out.decode()
    if "stderr_contains" in case:
        assert all(fragment in err.decode() for fragment in case["stderr_contains"])
    elif "stderr_prefix" in case:
        assert matches(case["stderr_prefix"], err.decode(), prefix=True), err.decode()
    else:
        assert matches(case["stderr"], err.decode()), err.decode()


def test_keys_are_nowhere_to_be_seen(daemons: Any, keys: Any, tmp_path: Path) -> None:
    secrets = [keys.host["rsa"].split("\n")[1].encode(), keys.authorized.split()[1].encode()[:60]]
    env = {"SSHD_HOSTKEY": keys.host["rsa"], "SSHD_AUTHKEY": keys.authorized, "KEPT": "1"}
    with daemons.run(tmp_path, "-logLevel=fatal", env=env) as daemon:
        shown = [Path(f"/proc/{daemon.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert b"-logLevel=fatal" in shown[0]
    assert b"KEPT=1" in shown[1].split(b"\0")
    assert not any(secret in text for secret in secrets for text in shown)
