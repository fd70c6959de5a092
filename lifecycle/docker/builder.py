"""The ``builder`` program of docker apps: reads the start command of an image from its registry."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from common.goerrors import reason
from common.goflags import FlagError, FlagExit, FlagSet
from lifecycle.docker import ecr
from lifecycle.docker.metadata import PortError, result_json, wrong_member
from lifecycle.docker.reference import BadReference, Reference, parse
from lifecycle.docker.registry import Credentials, Registry, RegistryError

NO_REFERENCE = 1
FAILED = 2
ATTEMPTS = 4
PASSWORD_VARIABLE = "DOCKER_REGISTRY_PASSWORD"
"""Holds the registry password if ``-dockerPassword`` is absent: other processes can read arguments."""

_T = TypeVar("_T")


class _StagingError(Exception):
    """Staging failed; ``str()`` is the reason."""


class _Interrupted(BaseException):
    """A signal terminates the program; ``str()`` is the signal's name."""


def main(argv: list[str]) -> int:
    """Write the result file for ``-dockerRef``."""
    flags = _flags()
    try:
        flags.parse(argv[1:])
    except FlagExit as ending:
        return ending.status
    if not flags.text("dockerRef"):
        sys.stderr.write("missing flag: dockerRef required\n")
        flags.print_defaults()
        return NO_REFERENCE
    for number, words in ((signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt")):
        signal.signal(number, _interrupt(words))
    print("Staging process started ...", flush=True)
    try:
        _stage(flags)
    except (_StagingError, _Interrupted) as error:
        failed = "Staging process failed: Exit trace for group:\nbuilder exited with error: "
        sys.stderr.write(f"{failed}{error}\n\n")
        return FAILED
    print("Staging process finished")
    return 0


def _interrupt(words: str) -> Callable[[int, Any], None]:
    def handler(_number: int, _frame: Any) -> None:
        raise _Interrupted(words)

    return handler


def _flags() -> FlagSet:
    flags = FlagSet("builder")
    flags.string("dockerRef", "", "image to stage")
    flags.string("outputMetadataJSONFilename", "/tmp/result/result.json", "file to write the result to")
    flags.custom("insecureDockerRegistries", _once(_insecure, "Insecure Docker Registries"), "host:port list")
    flags.string("dockerUser", "", "user of the registry")
    flags.string("dockerPassword", "", "password of the registry")
    flags.string("dockerEmail", "", "ignored")
    flags.string("dockerLoginServer", "https://index.docker.io/v1/", "ignored")
    flags.boolean("cacheDockerImage", "ignored")
    flags.string("dockerDaemonExecutablePath", "", "ignored")
    flags.string("dockerDaemonUnixSocket", "", "ignored")
    flags.string("dockerRegistryHost", "", "ignored")
    flags.integer("dockerRegistryPort", 8080, "ignored")
    flags.custom("dockerRegistryIPs", _once(_addresses, "Docker Registry IPs"), "ignored")
    flags.boolean("dockerRegistryRequireTLS", "ignored")
    return flags


def _once(convert: Callable[[str], list[str]], what: str) -> Callable[[str], list[str]]:
    """A list flag that may appear only once."""
    given: list[str] = []

    def setter(text: str) -> list[str]:
        if given:
            raise FlagError(f"{what} flag already set")
        given.append(text)
        return convert(text)

    return setter


def _insecure(text: str) -> list[str]:
    elements = [element.strip() for element in text.split(",")]
    for element in elements:
        if "://" in element:
            raise FlagError(f"no scheme allowed for Docker Registry [{element}]")
        if ":" not in element:
            raise FlagError(f"ip:port expected for Docker Registry [{element}]")
    return elements


def _addresses(text: str) -> list[str]:
    elements = [element.strip() for element in text.split(",")]
    for element in elements:
        if ":" in element:
            raise FlagError(f"unexpected format for [{element}]")
    return elements


def _stage(flags: FlagSet) -> None:
    """Read the image's configuration and write the result file. Raises _StagingError."""
    reference = parse(flags.text("dockerRef"))
    credentials = _credentials(reference, flags)
    listed = flags.value("insecureDockerRegistries")
    insecure = listed if isinstance(listed, list) else []
    try:
        reference.check()
        config = _fetch(Registry(reference, credentials, reference.host in insecure))
    except (BadReference, RegistryError) as error:
        raise _StagingError(
            f"failed to fetch metadata from [{reference.repository}] with tag [{reference.tag}] "
            f"and insecure registries [{' '.join(insecure)}] due to {error}"
        ) from error
    try:
        content = result_json(reference.image, config)
    except PortError as error:
        sys.stderr.write(f"failed to parse image ports {error.ports} {error}\n")
        raise _StagingError(str(error)) from error
    _save(Path(flags.text("outputMetadataJSONFilename")), content)


def _credentials(reference: Reference, flags: FlagSet) -> Credentials:
    password = flags.text("dockerPassword") or os.environ.get(PASSWORD_VARIABLE, "")
    pair = Credentials(flags.text("dockerUser"), password)
    if not pair.user or not ecr.is_ecr(reference.host):
        return pair
    try:
        return ecr.exchange(reference.host, pair)
    except ecr.ECRError as error:
        words = f"failed to get ECR credentials from [{reference.host}] due to {error}"
        raise _StagingError(words) from error


def _fetch(registry: Registry) -> dict[str, Any]:
    """The ``config`` member of the image's configuration. Raises RegistryError."""
    digest, image = _retried("manifest", registry.config_digest)
    if image is None:
        image = _retried("config", lambda: registry.config(digest))
    config = image.get("config") or {}
    trouble = "config is not a JSON object" if not isinstance(config, dict) else wrong_member(config)
    if trouble:
        raise RegistryError(f"unusable image configuration: {trouble}")
    return config


def _retried(what: str, fetch: Callable[[], _T]) -> _T:
    """The result of ``fetch``, with up to four attempts. Raises RegistryError."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return fetch()
        except RegistryError as error:
            again = f"  Going to retry attempt: {attempt}" if attempt < ATTEMPTS else ""
            sys.stderr.write(f"Failed getting docker image {what} by tag: {error}{again}\n")
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("no attempt was made")


def _save(path: Path, content: str) -> None:
    failed = f"failed to save metadata to [{path}] due to"
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _StagingError(f"{failed} mkdir {path.parent}: not a directory") from error
    except OSError as error:
        raise _StagingError(f"{failed} mkdir {path.parent}: {reason(error)}") from error
    try:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise _StagingError(f"{failed} open {path}: {reason(error)}") from error
