"""Command line options of a run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cell.development import BUSYBOX_STACK
from cell.errors import BadInput

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
DEFAULT_STATE_DIR = Path("/var/lib/diego-cell/run")
FIRST_CELL_PORT = 61001
"""First port of the range in which cells allocate host ports."""


@dataclass(frozen=True, slots=True)
class RequestedPort:
    """A container port, and the host port mapped to it (0: any)."""

    container_port: int
    host_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Values that override the document. None keeps the document's value.

    root_fs: in the executor's form, empty for the document's. env: overrides the container's variables.
    memory_mb, disk_mb: MiB. user: for every step. timeout_s: for the whole run. only: path of the single step
    to run. keep: keep the container. shell: open a shell in it after a failure. docker_host: address of
    the engine, which must run on this machine.
    """

    root_fs: str = ""
    env: tuple[tuple[str, str], ...] = ()
    memory_mb: int | None = None
    disk_mb: int | None = None
    ports: tuple[RequestedPort, ...] = ()
    user: str = ""
    timeout_s: float | None = None
    only: str = ""
    keep: bool = False
    shell: bool = False
    state_dir: Path = DEFAULT_STATE_DIR
    docker_host: str = DEFAULT_DOCKER_HOST


def image_root_fs(image: str) -> str:
    """The root filesystem of ``--image``. Raises BadInput.

    ``busybox`` and ``preloaded:busybox`` are the local image. A URI stays unchanged. Anything else is an
    image reference; the engine pulls the image if it is missing.
    """
    if image in (BUSYBOX_STACK, f"preloaded:{BUSYBOX_STACK}"):
        return f"preloaded:{BUSYBOX_STACK}"
    if not image or image.startswith(("/", ".")) or any(letter.isspace() for letter in image):
        raise BadInput(
            f"--image {image!r}: expected an image reference such as alpine:3.20, or {BUSYBOX_STACK}"
        )
    return image


def given_root_fs(root_fs: str) -> str:
    """The root filesystem of ``--rootfs``: a URI, or a local archive or directory. Raises BadInput."""
    if ":" in root_fs and not Path(root_fs).exists():
        return root_fs
    path = Path(root_fs)
    if not path.exists():
        raise BadInput(f"--rootfs {root_fs}: no such file or directory")
    return str(path.resolve())


def parse_env(text: str, environment: dict[str, str]) -> tuple[str, str]:
    """``NAME=VALUE``, or ``NAME`` for its value in ``environment``. Raises BadInput."""
    name, equals, value = text.partition("=")
    if not name:
        raise BadInput(f"--env {text!r}: expected NAME=VALUE")
    if equals:
        return name, value
    if name not in environment:
        raise BadInput(f"--env {name}: not set in this environment; expected NAME=VALUE")
    return name, environment[name]


def parse_port(text: str) -> RequestedPort:
    """``CONTAINER_PORT`` or ``HOST_PORT:CONTAINER_PORT``. Raises BadInput."""
    host, colon, container = text.rpartition(":")
    try:
        port = RequestedPort(int(container), int(host) if colon else 0)
    except ValueError:
        raise BadInput(f"--port {text!r}: expected CONTAINER_PORT or HOST_PORT:CONTAINER_PORT") from None
    numbers = (port.container_port, port.host_port) if colon else (port.container_port,)
    if not all(0 < number < 65536 for number in numbers):
        raise BadInput(f"--port {text!r}: a port is a number from 1 to 65535")
    if port.host_port >= FIRST_CELL_PORT:
        raise BadInput(
            f"--port {text!r}: cells allocate host ports from {FIRST_CELL_PORT} on; choose a lower one"
        )
    return port
