"""Exit codes without a recording, and precedence of the modes."""

from __future__ import annotations

import itertools
from typing import NoReturn

import pytest

from healthcheck import attempt, failure, program
from healthcheck.dial import Deadline

pytestmark = pytest.mark.unit

MODES = ("startup", "liveness", "readiness", "until-ready")
"""In the order in which they win."""


def fail(*_: object) -> NoReturn:
    raise failure.no_interface()


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "interfaces", lambda: [1])
    monkeypatch.setattr(program, "ipv4_addresses", lambda: [(1, "10.0.0.1")])


def test_an_error_of_no_known_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(host: str, port: str, uri: str, timeout: int, limit: Deadline) -> None:
        raise ValueError("out of order")

    monkeypatch.setattr(attempt, "http", broken)
    assert program.main(["healthcheck", "-uri=/"]) == 127
    assert capsys.readouterr() == ("", "Unknown error encountered in healthcheck: out of order\n")


@pytest.mark.parametrize("given", [set(each) for n in (2, 3, 4) for each in itertools.combinations(MODES, n)])
def test_which_mode_wins(
    given: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one alone never ends with a failure, so it cannot win over another here."""
    monkeypatch.setattr(attempt, "tcp", fail)
    arguments = [f"-{mode}-interval=1ms" for mode in given]
    assert program.main(["healthcheck", *arguments, "-startup-timeout=1ns"]) == 3
    first = next(mode for mode in MODES if mode in given)
    says = {
        "startup": "Timed out after 1ns (1 attempts) waiting for startup check to succeed: ",
        "liveness": "Liveness check unsuccessful: ",
        "readiness": "Readiness check unsuccessful: ",
    }
    assert capsys.readouterr() == ("", f"{says[first]}failure to find suitable interface\n")


@pytest.mark.parametrize("interval", ["0", "-1s", "0s"])
@pytest.mark.parametrize("mode", MODES)
def test_an_interval_that_is_none_is_one_attempt(
    mode: str, interval: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attempt, "tcp", fail)
    assert program.main(["healthcheck", f"-{mode}-interval={interval}"]) == 3
    assert capsys.readouterr() == ("", "failure to find suitable interface\n")
