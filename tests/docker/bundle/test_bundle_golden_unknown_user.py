"""Recorded cases of the in-container programs as a user without passwd entry, at a path with a space."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docker.bundle.golden import ROOTS, UNKNOWN_USER, Mode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_as_an_unknown_user(root: str, replay: Callable[[Mode, str], None]) -> None:
    replay(UNKNOWN_USER, root)
