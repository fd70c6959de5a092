"""The ``shell`` program: runs a command or an interactive bash in the environment of the app's processes."""

from __future__ import annotations

import os
import sys

from common.goerrors import reason
from common.goflags import FlagExit, FlagSet
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

_START = 'cd "$1"\n' + source_scripts("../profile.d", ".profile.d") + 'exec bash -c "${@:2}"\n'


def main(argv: list[str]) -> int:
    """``shell [<app dir> [<command> [credhub flags]]]``: returns only if the shell cannot be started."""
    name, *arguments = argv
    environment = dict(os.environ)
    if arguments:
        folder = arguments[0]
        if not folder or not os.path.exists(folder):
            return _fail("Provided app direcory does not exist")
    else:
        folder = os.path.join(environment.get("HOME", ""), "app")
        if not os.path.exists(folder):
            return _fail("Could not infer app directory, please provide one")
    flags = FlagSet("shell")
    define_credhub_flags(flags)
    try:
        flags.parse(arguments[2:])
    except FlagExit as ending:
        return ending.status
    app = absolute(folder)
    try:
        prepare(environment, app, flags)
    except EnvironmentFailure as error:
        return _fail(str(error))
    command = arguments[1] if len(arguments) > 1 else "bash"
    sys.stdout.flush()
    try:
        replace(BASH, ["bash", "-c", _START, name, app, command], environment)
    except OSError as error:
        return _fail(reason(error))


def _fail(message: str) -> int:
    sys.stderr.write(message)
    return FAILED
