"""Staging of the example apps by the bundle, twice: the second build uses the cache of the first."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cell.apps.choices import BUILDPACKS

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

STAGE_AND_START = """
set -e
mkdir -p /tmp/app /tmp/home
echo greet >/tmp/app/start.sh
for build in 1 2; do
  /lifecycle/builder -skipDetect -buildpackOrder=greeting,script
done
tar -xzf /tmp/droplet -C /tmp/home
cd /tmp/home
INSTANCE_INDEX=3 /lifecycle/launcher app '' ''
echo pwd | HOME=/tmp/home /lifecycle/shell
cat /tmp/result.json
"""


def test_example_buildpacks(
    box: Callable[..., Any], image_of: Callable[[str], str], bundle: Path, tmp_path: Path
) -> None:
    buildpacks = tmp_path / "buildpacks"
    subprocess.run([BUILDPACKS / "place", buildpacks, "greeting", "script"], check=True)
    for folder in (buildpacks, *tmp_path.parents[:3], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    mounts = {bundle: "/lifecycle", buildpacks: "/tmp/buildpacks"}
    staging = box(
        image_of("debian"), ["/bin/bash", "-c", STAGE_AND_START], mounts, ["--user", "2000", "--read-only"]
    )
    out, err = staging.process.communicate()
    assert (staging.process.returncode, err) == (0, "")
    *lines, result = out.splitlines()
    assert lines == [
        "Build number 1",
        "Build number 2",
        "Invoking pre-start scripts.",
        "Invoking start command.",
        "Hello from instance 3",
        "/tmp/home/app",
    ]
    used = (f'{{"key":"{name}","name":"{name}","version":"1.0.0"}}' for name in ("greeting", "script"))
    assert f'"buildpacks":[{",".join(used)}]' in result
    assert '"process_types":{"web":"./start.sh"}' in result
