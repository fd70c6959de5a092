"""The recorded cases of the in-container programs in a file system with only /tmp writable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docker.bundle.golden import READ_ONLY, ROOTS, replay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_in_a_read_only_root(
    root: str,
    box: Callable[..., Any],
    image_of: Callable[[str], str],
    bundle: Path,
    library: Path,
    certificates: Path,
) -> None:
    replay(READ_ONLY, root, box, image_of, bundle, library, certificates)
