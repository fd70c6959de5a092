"""Every recorded case of the in-container programs as root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docker.bundle.golden import ROOTS, Mode, replay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

MODE = Mode("/lifecycle")


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases_as_root(
    root: str,
    box: Callable[..., Any],
    image_of: Callable[[str], str],
    bundle: Path,
    library: Path,
    certificates: Path,
) -> None:
    replay(MODE, root, box, image_of, bundle, library, certificates)
