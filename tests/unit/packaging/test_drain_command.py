"""`diego-cell-drain` with a scripted systemd and a scripted `cell`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

PROGRAM = REPOSITORY / "packaging" / "systemd" / "diego-cell-drain"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def drain(tmp_path: Path) -> Run:
    """Runs it; states: of the service, one for each question; status: of `cell drain`."""

    def run(*words: str, states: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        (tmp_path / "states").write_text(states.replace(" ", "\n") + "\n")
        programs = {
            "systemctl": f"head -n 1 {tmp_path}/states; [ $(wc -l <{tmp_path}/states) = 1 ]"
            f" || sed -i 1d {tmp_path}/states",
            "cell": f'echo "cell $*"; exit {status}',
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CELL": str(tmp_path / "cell")}
        return subprocess.run(
            [PROGRAM, *words], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_it_waits_until_the_service_is_down(drain: Run) -> None:
    done = drain(states="active deactivating inactive")
    assert (done.returncode, done.stdout) == (0, "cell drain --config /etc/diego-cell/rep.json\n")


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_a_cell_that_does_not_run_is_drained(drain: Run, state: str) -> None:
    done = drain(states=state)
    assert (done.returncode, done.stdout) == (0, "diego-cell-drain: diego-cell.service does not run\n")


def test_a_refusal_and_a_failed_end_are_errors(drain: Run) -> None:
    assert drain(states="active", status=4).returncode == 4
    done = drain(states="active failed")
    assert (done.returncode, "ended with an error" in done.stderr) == (1, True)


def test_arguments_are_described_or_refused(drain: Run) -> None:
    assert "Evacuate the cell of this machine" in drain("--help", states="active").stdout
    assert drain("--force", states="active").returncode == 2
