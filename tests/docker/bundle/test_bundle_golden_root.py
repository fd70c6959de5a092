"""The recorded cases of the in-container programs as root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docker.bundle.golden import AS_ROOT, ROOTS, replay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_as_root(
    root: str,
    box: Callable[..., Any],
    image_of: Callable[[str], str],
    bundle: Path,
    library: Path,
    certificates: Path,
) -> None:
    replay(AS_ROOT, root, box, image_of, bundle, library, certificates)
