"""Failpoints: the variable's form, the pass that counts, and a place in the code for each name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from common.failpoints import NAMES, VARIABLE, FailpointFile, Failpoints, parse
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

CALL = re.compile(r"\bfailpoint\(\"([^\"]+)\"\)")


def test_the_third_pass_is_due_and_no_other() -> None:
    points = Failpoints("outcome.stored=kill@3")
    assert [points.is_due("outcome.stored") for _ in range(5)] == [False, False, True, False, False]
    assert not points.is_due("outcome.answered")


@pytest.mark.parametrize(
    ("text", "armed"),
    [
        ("", {}),
        ("outcome.stored=kill", {"outcome.stored": 1}),
        ("outcome.stored=kill@2, outcome.answered=kill", {"outcome.stored": 2, "outcome.answered": 1}),
    ],
)
def test_the_forms_of_the_variable(text: str, armed: dict[str, int]) -> None:
    assert parse(text) == armed


@pytest.mark.parametrize(
    "text", ["outcome.stored", "outcome.stored=stop", "outcome.stored=kill@0", "nowhere=kill"]
)
def test_a_malformed_variable_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE):
        parse(text)


def test_every_name_is_one_place_in_the_code() -> None:
    packages = ("bbs", "cell", "common", "executor", "rep")
    sources = (path for package in packages for path in (REPOSITORY / package).rglob("*.py"))
    places = Counter(name for path in sources for name in CALL.findall(path.read_text()))
    assert places == Counter(NAMES)


@pytest.mark.parametrize("is_file", [False, True], ids=["names", "file"])
def test_a_process_is_killed_where_the_variable_says(tmp_path: Path, is_file: bool) -> None:
    armed = "outcome.stored=kill@2"
    (tmp_path / "failpoints").write_text(armed)
    loop = 'for number in range(3): print(number, flush=True); failpoint("outcome.stored")'
    script = f"from common.failpoints import failpoint\n{loop}"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: str(tmp_path / "failpoints") if is_file else armed},
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"0\n1\n")


def test_a_file_arms_a_running_process_whenever_it_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "failpoints"
    points = FailpointFile(str(file))

    def write(text: str, at: int) -> None:
        file.write_text(text)
        os.utime(file, (at, at))

    assert not points.is_due("outcome.stored"), "without a file"
    write("outcome.stored=kill@2", 1)
    assert [points.is_due("outcome.stored") for _ in range(3)] == [False, True, False]
    write("outcome.answered=kill", 2)
    assert not points.is_due("outcome.stored")
    assert points.is_due("outcome.answered")
    write("", 3)
    assert not points.is_due("outcome.answered")
