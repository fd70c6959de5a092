"""Runs of commands, and the file that keeps them together with the facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import psutil
from docker.errors import DockerException

from benchmarks import figures
from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
CLEAN_UP_S = 90.0
"""Time for a command that is stopped to remove what it made."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command.

    status: exit status, None if it took too long. load: of the machine at its begin. at: its begin, UTC.
    """

    command: str
    status: int | None
    seconds: float
    load: float
    at: str
    figures: tuple[Figure, ...] = ()


def run(command: str, limit_s: float, *, has_figures: bool = True) -> Run:
    """Run `python -m COMMAND` for at most ``limit_s`` seconds. Its text goes to this process' output."""
    load, began = os.getloadavg()[0], time.monotonic()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="diego-cell-figures-") as folder:
        path = Path(folder, "figures.json")
        arguments = [*shlex.split(command), *(["--json", str(path)] if has_figures else [])]
        with subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, env=_environment(), start_new_session=True
        ) as process:
            try:
                status: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _stop(process)
        measured = tuple(figures.read(path)) if status == 0 and has_figures else ()
    return Run(command, status, time.monotonic() - began, load, at, measured)


def _environment() -> dict[str, str]:
    """Without what makes programs report their coverage, which takes time."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command as Ctrl-C does, so that it removes what it made, then its processes."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(CLEAN_UP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def machine() -> dict[str, Any]:
    """Facts of this machine."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": _docker(),
        "load": os.getloadavg()[0],
    }


def _docker() -> str:
    try:
        client = docker.APIClient()
        try:
            return f"{client.version()['Version']}, {client.info()['Driver']}"
        finally:
            client.close()
    except DockerException:
        return "none"


def machine_text(facts: Mapping[str, Any]) -> str:
    """The facts in one line."""
    return (
        f"{facts['cores']} cores, {facts['memory_gb']} GB, {facts['system']}, kernel {facts['kernel']}, "
        f"Docker {facts['docker']}, Python {facts['python']}"
    )


def load_runs(path: Path) -> dict[str, Run]:
    """The runs of a file by the text of their command; none if there is no file."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())["runs"]
    return {
        each["command"]: Run(**{**each, "figures": tuple(Figure(**one) for one in each["figures"])})
        for each in stored
    }


def load_machine(path: Path) -> dict[str, Any]:
    """The facts of the machine of the last run."""
    facts: dict[str, Any] = json.loads(path.read_text())["machine"]
    return facts


def save(path: Path, facts: Mapping[str, Any], runs: Iterable[Run]) -> None:
    """Write the file. Numbers have six significant digits."""
    content = {"machine": dict(facts), "runs": [asdict(each) for each in runs]}
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
