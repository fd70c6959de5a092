"""Execution of buildpack scripts and of the image's own tools, and the archives that its tools make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from common.goerrors import reason
from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.system import LookError, look_path


class ScriptError(BuildError):
    """A script or tool failed; ``str()`` is ``exit status N`` or similar."""


def run(program: Path | str, *arguments: Path | str, capture: bool = False) -> str:
    """Run a program with our environment and outputs and without input. With ``capture``, return its standard
    output.

    Raises ScriptError.
    """
    sys.stdout.flush()
    output, errors = (subprocess.PIPE, None) if capture else (None, None)
    done = _run(program, [str(program), *map(str, arguments)], output, errors)
    return (done.stdout or b"").decode("utf-8", "surrogateescape")


def run_tool(name: str, *arguments: Path | str) -> None:
    """Run a program found in ``PATH``. Raises LookError, ScriptError."""
    sys.stdout.flush()
    _run(look_path(name, os.environ), [name, *map(str, arguments)], None, None)


def run_tool_quietly(name: str, *arguments: Path | str) -> None:
    """Like ``run_tool``, but the output goes into the error text, before the reason."""
    command = [name, *map(str, arguments)]
    _run(look_path(name, os.environ), command, subprocess.PIPE, subprocess.STDOUT)


def _run(
    program: Path | str, command: list[str], output: int | None, errors: int | None
) -> subprocess.CompletedProcess[bytes]:
    nothing = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, executable=program, stdin=nothing, stdout=output, stderr=errors, check=False
        )
    except OSError as error:
        raise ScriptError(f"fork/exec {program}: {reason(error)}") from error
    if done.returncode == 0:
        return done
    if done.returncode > 0:
        words = f"exit status {done.returncode}"
    else:
        words = f"signal: {(signal.strsignal(-done.returncode) or str(-done.returncode)).lower()}"
    if errors is not None:
        words = f"{done.stdout.decode('utf-8', 'surrogateescape')}: {words}"
    raise ScriptError(words)


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
