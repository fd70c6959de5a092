"""The bundle for arm64 does what it does here, run by an emulator where the machine is another one.

It takes an emulator that the kernel starts for programs of that architecture, also in containers: Debian's
``qemu-user-static`` brings one, and ``cat /usr/lib/binfmt.d/qemu-aarch64.conf >
/proc/sys/fs/binfmt_misc/register`` makes it known where nothing else did.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.docker.bundle.conftest import build_tree
from tests.docker.bundle.golden import Mode, replay

ARCHITECTURE = "arm64"
ROOTS = ("static", "musl", "bash")
"""All but the ``debian`` one, which an emulator would be too long at making, and what lies between."""
HANDLER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


def _runs_here() -> bool:
    """Whether this machine runs programs for arm64, also in another root."""
    if platform.machine() == "aarch64":
        return True
    described = HANDLER.read_text().splitlines() if HANDLER.exists() else []
    return "enabled" in described and any(
        line.startswith("flags:") and "F" in line.partition(":")[2] for line in described
    )


pytestmark = [
    pytest.mark.docker,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not _runs_here(), reason="no emulator for arm64 is registered with the kernel"),
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("foreign"), "--arch", ARCHITECTURE)


@pytest.mark.parametrize("root", ROOTS)
def test_recorded_cases(
    root: str,
    box: Callable[..., Any],
    image_of: Callable[..., str],
    bundle: Path,
    library: Path,
    foreign: Path,
    certificates: Path,
) -> None:
    image = partial(image_of, architecture=ARCHITECTURE)
    replay(Mode("/lifecycle"), root, box, image, foreign, library, certificates, runner=bundle)
