"""The ``launcher`` program of docker apps: completes the environment, then executes the app."""

from __future__ import annotations

import os
import sys
from typing import Any

from common.goerrors import reason
from common.gojson import JSONError, decode_object, member
from lifecycle import credhub
from lifecycle.services import complete_application, set_database_url
from lifecycle.system import LookError, look_path, replace

FAILED = 1
BAD_PLATFORM_OPTIONS = 3
INTERPOLATION_FAILED = 4
_MAX_PORT = 65535


class _LaunchError(Exception):
    """The app cannot be started; ``str()`` is the complete text for standard error."""

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


def main(argv: list[str]) -> int:
    """``launcher <ignored> <start command> <metadata>``: returns only if the app cannot be started."""
    if len(argv) < 4:
        sys.stderr.write(f"Usage: {argv[0]} <ignored> <start command> <metadata>\n")
        return FAILED
    environment = dict(os.environ)
    try:
        _complete(environment)
        command = _command(argv[2], _metadata(argv[3]), environment)
        try:
            replace(command[0], command, environment)
        except OSError as error:
            raise _LaunchError(f"Failed to run: {reason(error)}\n") from error
    except _LaunchError as error:
        sys.stderr.write(str(error))
        return error.status


def _complete(environment: dict[str, str]) -> None:
    try:
        services = credhub.interpolate_for_docker(credhub.credhub_uri(environment), environment)
    except credhub.PlatformOptionsError as error:
        raise _LaunchError("Invalid platform options\n", BAD_PLATFORM_OPTIONS) from error
    except credhub.CredHubError as error:
        raise _LaunchError(str(error), INTERPOLATION_FAILED) from error
    if services is not None:
        environment["VCAP_SERVICES"] = services
    try:
        set_database_url(environment)
    except JSONError as error:
        sys.stderr.write(f"Cannot parse vcap services: {error}\n")
    complete_application(environment)


def _metadata(text: str) -> dict[str, Any]:
    """The validated execution metadata. One member of a wrong type makes all of it invalid."""
    try:
        given = decode_object(text, "ExecutionMetadata")
        metadata: dict[str, Any] = {}
        for name in ("workdir", "user"):
            metadata[name] = member(given, name, str, f"ExecutionMetadata.{name}")
        for name in ("cmd", "entrypoint"):
            words = member(given, name, list, f"ExecutionMetadata.{name}") or []
            metadata[name] = [
                member({"": word}, "", str, f"ExecutionMetadata.{name}") or "" for word in words
            ]
        for entry in member(given, "ports", list, "ExecutionMetadata.ports") or []:
            port = member({"": entry}, "", dict, "ExecutionMetadata.ports") or {}
            number = member(port, "Port", int, "Port.Port")
            if number is not None and not 0 <= number <= _MAX_PORT:
                raise JSONError(f"json: cannot unmarshal number {number} into Port.Port of type uint16")
            member(port, "Protocol", str, "Port.Protocol")
    except JSONError as error:
        raise _LaunchError(f"Invalid metadata - {error}\n") from error
    return metadata


def _command(start_command: str, metadata: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """The command line of the app, for execution in its start directory."""
    folder = metadata["workdir"] or "/"
    try:
        os.chdir(folder)
    except OSError as error:
        words = f"Couldn't change directories to {folder}: chdir {folder}: {reason(error)}\n"
        raise _LaunchError(words) from error
    if start_command:
        return ["/bin/sh", "-c", start_command]
    command: list[str] = metadata["entrypoint"] + metadata["cmd"]
    if not command:
        raise _LaunchError("No start command found or specified\n")
    try:
        return [look_path(command[0], environment), *command[1:]]
    except LookError as error:
        raise _LaunchError(f"Failed to resolve path: {error}\n") from error
