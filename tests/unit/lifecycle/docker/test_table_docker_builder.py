"""Failures of the docker builder, line by line."""

from __future__ import annotations

import signal
from typing import NoReturn

import pytest

from lifecycle.docker import builder, ecr
from lifecycle.docker.registry import Credentials

pytestmark = pytest.mark.unit

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
STARTED = "Staging process started ...\n"


def failed(reason: str) -> str:
    return f"Staging process failed: Exit trace for group:\nbuilder exited with error: {reason}\n\n"


def test_credentials_that_cannot_be_exchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exchange(host: str, pair: Credentials) -> NoReturn:
        assert (host, pair) == (ECR, Credentials("AKID", "secret"))
        raise ecr.ECRError("status 400: not you")

    monkeypatch.setattr(ecr, "exchange", exchange)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    arguments = [f"-dockerRef={ECR}/team/app", "-dockerUser=AKID", "-dockerPassword=secret"]
    assert builder.main(["builder", *arguments]) == 2
    reason = f"failed to get ECR credentials from [{ECR}] due to status 400: not you"
    assert capsys.readouterr() == (STARTED, failed(reason))


@pytest.mark.parametrize(("number", "words"), [("SIGTERM", "terminated"), ("SIGINT", "interrupt")])
def test_signals(
    number: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = {}

    def remember(number: int, handler: object) -> None:
        handlers[number] = handler

    def fetch(registry: object) -> NoReturn:
        handler = handlers[getattr(signal, number)]
        assert callable(handler)
        handler(0, None)
        raise AssertionError("the signal ended nothing")

    monkeypatch.setattr(signal, "signal", remember)
    monkeypatch.setattr(builder, "_fetch", fetch)
    assert builder.main(["builder", "-dockerRef=team/app"]) == 2
    assert capsys.readouterr() == (STARTED, failed(words))
