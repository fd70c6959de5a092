"""The recorded cases of the in-container programs in a file system with only /tmp writable."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docker.bundle.golden import READ_ONLY, ROOTS, Mode

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_in_a_read_only_root(root: str, replay: Callable[[Mode, str], None]) -> None:
    replay(READ_ONLY, root)
