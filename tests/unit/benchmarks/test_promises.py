"""SPECIFICATION.md has the rows of the promises, and each of them can be measured and judged."""

from __future__ import annotations

import importlib.util
import shlex
from string import Formatter

import pytest

from benchmarks.promises import PROMISES, Promise
from benchmarks.specification import row_of, rows
from benchmarks.verdicts import COMPARISONS
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit


def test_the_document_has_the_promises_with_their_commands() -> None:
    written = rows((REPOSITORY / "SPECIFICATION.md").read_text())
    assert written == [row_of(promise, row.measured) for promise, row in zip(PROMISES, written, strict=True)]


def test_names_are_unique() -> None:
    names = [promise.name for promise in PROMISES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
def test_a_promise_can_be_judged(promise: Promise) -> None:
    module, *_ = shlex.split(promise.command.text)
    assert importlib.util.find_spec(module) is not None
    fields = [name for _, name, _, _ in Formatter().parse(promise.measured) if name]
    assert promise.command.has_figures == bool(fields)
    assert bool(promise.limits) == (bool(fields) and promise.aim != "-")
    for limit in promise.limits:
        _, comparison, bound = limit.split()
        assert comparison in COMPARISONS
        float(bound)
