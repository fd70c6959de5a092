"""The recorded cases of the in-container programs as root."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docker.bundle.golden import AS_ROOT, ROOTS, Mode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_as_root(root: str, replay: Callable[[Mode, str], None]) -> None:
    replay(AS_ROOT, root)
