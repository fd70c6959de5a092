"""The units are ones that systemd accepts, and restarts of a service that keeps failing get rarer."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.exposure import SERVICES, exposure
from benchmarks.promises import PROMISES
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

UNITS = REPOSITORY / "packaging" / "systemd"
INSTALLED = "/usr/lib/diego-cell/"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """A key that it does not know, or a program that does not exist, is a line of output."""
    paths = []
    for unit in UNITS.glob("*.service"):
        text = unit.read_text()
        assert INSTALLED in text
        # A program of the package stands where it will be installed: a copy of this tree and its scripts.
        text = text.replace(INSTALLED, f"{tmp_path}/")
        paths.append(tmp_path / unit.name)
        paths[-1].write_text(text)
    for name in ("bin/rep", "bin/cell", "drain/stop", "systemd/back-off"):
        program = tmp_path / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "diego" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_services_have_no_more_rights_than_promised() -> None:
    (limits,) = (each.limits for each in PROMISES if each.command.text == "benchmarks.exposure")
    bounds = {name: float(bound) for name, _, bound in map(str.split, limits)}
    found = {name: exposure(UNITS / unit) for name, unit in SERVICES.items()}
    assert {name: value for name, value in found.items() if value > bounds[name]} == {}


@pytest.fixture
def restart(tmp_path: Path) -> Callable[..., str]:
    """Runs back-off with what systemd knows of the last process, in seconds; returns the pause, if any."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(
        '#!/bin/sh\n[ "$1 $3 $4" = "show --value a.service" ] || exit 9\neval "echo \\$${2#--property=}"\n'
    )
    (programs / "sleep").write_text('#!/bin/sh\necho "slept $*"\n')
    for program in programs.iterdir():
        program.chmod(0o755)

    def run(restarts: int, began: int, ended: int) -> str:
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "BACK_OFF_UNIT": "a.service",
            "BACK_OFF_FILE": str(tmp_path / "failures"),
            "NRestarts": str(restarts),
            "ExecMainStartTimestampMonotonic": f"{began}000000",
            "ExecMainExitTimestampMonotonic": f"{ended}000000",
        }
        done = subprocess.run(
            [UNITS / "back-off"], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        return lines[-1].removeprefix("slept ") if lines else ""

    return run


def test_the_pauses_between_failing_starts_grow(restart: Callable[..., str]) -> None:
    assert restart(0, 0, 0) == ""
    pauses = [restart(count, 100 * count, 100 * count + 3) for count in range(1, 11)]
    assert pauses == ["", "1", "2", "4", "8", "16", "32", "60", "60", "60"]


def test_a_process_that_lived_long_is_restarted_at_once(restart: Callable[..., str]) -> None:
    restart(1, 100, 101)
    assert restart(2, 110, 111) == "1"
    assert restart(3, 120, 720) == ""
    assert restart(4, 730, 731) == ""
    assert restart(5, 740, 741) == "1"


def test_a_start_that_fails_before_the_process_counts(restart: Callable[..., str]) -> None:
    """Such as one with a configuration that the check refuses, after a process that lived long."""
    assert restart(1, 100, 9000) == ""
    assert [restart(count, 100, 9000) for count in (2, 3, 4)] == ["", "1", "2"]


def test_a_start_by_an_operator_forgets_the_failures(restart: Callable[..., str]) -> None:
    for count in range(1, 5):
        restart(count, 100 * count, 100 * count + 1)
    assert restart(0, 400, 401) == ""
    assert restart(1, 500, 501) == ""
