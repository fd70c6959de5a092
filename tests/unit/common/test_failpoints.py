"""Failpoints: the variable's form, the pass that counts, and a place in the code for each name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest

from common.failpoints import NAMES, VARIABLE, Failpoints, parse
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


def test_a_process_is_killed_where_the_variable_says() -> None:
    loop = 'for number in range(3): print(number, flush=True); failpoint("outcome.stored")'
    script = f"from common.failpoints import failpoint\n{loop}"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, VARIABLE: "outcome.stored=kill@2"},
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"0\n1\n")
