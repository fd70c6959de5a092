"""The ``launcher`` program of buildpack apps: completes the environment, runs pre-start scripts, runs the
app.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.goerrors import reason
from common.goflags import FlagExit, FlagSet
from lifecycle.buildpack import staging_info
from lifecycle.buildpack.environment import (
    BASH,
    EnvironmentFailure,
    absolute,
    define_credhub_flags,
    prepare,
    source_scripts,
)
from lifecycle.system import replace

FAILED = 1
ENVIRONMENT_FAILED = 3
EXEC_FAILED = 4

_START = (
    'cd "$1"\n'
    "echo 'Invoking pre-start scripts.'\n"
    + source_scripts("../profile.d", ".profile.d")
    + "if [[ -f .profile ]]; then source .profile; fi\n"
    "echo 'Invoking start command.'\n"
    'exec %s "${@:2}"\n'
)
"""The scripts may change the positional parameters. All parameters except the first form the command."""


def main(argv: list[str]) -> int:
    """``launcher <app-directory> <start-command> <metadata>``: returns only if the app cannot be started."""
    name, *arguments = argv
    if len(arguments) < 3:
        words = f"{name}: received only {len(arguments)} arguments\n"
        return _fail(f"{words}Usage: {name} <app-directory> <start-command> <metadata>", FAILED)
    try:
        info = staging_info.read(Path(staging_info.FILE))
    except staging_info.StagingInfoError as error:
        return _fail(f"Invalid staging info - {error}", FAILED)
    command = arguments[1] or info.start_command
    if not command:
        return _fail(f"{name}: no start command specified or detected in droplet", FAILED)
    flags = FlagSet("launcher")
    define_credhub_flags(flags)
    try:
        flags.parse(arguments[2:])
    except FlagExit as ending:
        return ending.status
    environment = dict(os.environ)
    app = absolute(arguments[0])
    try:
        prepare(environment, app, flags)
    except EnvironmentFailure as error:
        return _fail(str(error), ENVIRONMENT_FAILED)
    script = _START % (info.entrypoint_prefix or "bash -c")
    sys.stdout.flush()
    try:
        replace(BASH, ["bash", "-c", script, name, app, command], environment)
    except OSError as error:
        return _fail(reason(error), EXEC_FAILED)


def _fail(message: str, status: int) -> int:
    sys.stderr.write(message)
    return status
