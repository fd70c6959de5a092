"""Archives of the droplet and of the build artifacts cache, made with the image's own tools."""

from __future__ import annotations

import os
from pathlib import Path

from common.goerrors import reason
from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.buildpack.scripts import ScriptError, run_tool, run_tool_quietly
from lifecycle.system import LookError, look_path


def pack_droplet(build_dir: Path, work: Path, output: Path) -> None:
    """Pack ``work`` with the app and empty ``tmp`` and ``logs`` into one archive. Raises BuildError."""
    try:
        run_tool("cp", "-a", build_dir, work / "app")
    except (ScriptError, LookError) as error:
        raise BuildError(f"Failed to copy compiled droplet: {error}") from error
    try:
        for name in ("tmp", "logs"):
            (work / name).mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise BuildError(f"Failed to set up droplet filesystem: {reason(error)}") from error
    try:
        look_path("tar", os.environ)
    except LookError as error:
        raise BuildError(f"Unable to find tar executable: {error}") from error
    _tar(work, output, "Failed to compress droplet filesystem")


def pack_cache(cache: Path, output: Path) -> None:
    """Pack the cache directory. Raises BuildError."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        words = f"mkdir {output.parent}: {reason(error)}"
        raise BuildError(f"Failed to create output build artifacts cache dir: {words}") from error
    _tar(cache, output, "Failed to compress build artifacts")


def _tar(folder: Path, output: Path, failed: str) -> None:
    try:
        run_tool_quietly("tar", "-czf", output, "-C", folder, ".")
    except (ScriptError, LookError) as error:
        raise BuildError(f"{failed}: {error}") from error
