"""The endpoints file of a control plane: its addresses, for other programs, in the state folder.

The file is removed at the end of the process. The process holds a lock on it, which the kernel releases in
any case, so the file of a killed process is recognized as stale. A file with ``"remote": true`` is a copy for
another machine, or for outside of a container, and has no lock; its TLS files are relative to it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cell.development.statefolder import ENDPOINTS_NAME, open_private

DEFAULT_STATE_DIR = Path("/var/lib/diego-cell/dev")
FILE_NAME = ENDPOINTS_NAME
MOST_CHARACTERS: Final = 1 << 20


class NoEndpoints(Exception):
    """The file is missing, has another format, or its writer no longer runs."""


@dataclass(frozen=True, slots=True)
class CellEndpoint:
    """A cell of the `cell dev`. admin: the URL of its rep's admin listener."""

    cell_id: str
    admin: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """tls: PEM files of CA, certificate and key for clients; None if all endpoints are plain.

    file_server, logs: base URLs. file_server_of_cells: that of the file server as cells call it. router: URL
    of the router, whose host is the domain of apps; empty without one.
    """

    bbs: str
    locket: str
    file_server: str
    logs: str
    tls: tuple[Path, Path, Path] | None
    cells: tuple[CellEndpoint, ...] = ()
    file_server_of_cells: str = ""
    router: str = ""


@contextmanager
def published(state_dir: Path, document: Mapping[str, object]) -> Iterator[None]:
    """Publish ``document`` in the file while inside. Raises OSError."""
    file = state_dir / FILE_NAME
    fresh = file.with_suffix(".new")
    with open_private(fresh, "w") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        json.dump(document, ours, indent=2)
        ours.write("\n")
        ours.flush()
        fresh.replace(file)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                if os.path.samestat(file.stat(), os.fstat(ours.fileno())):
                    file.unlink()


def read_endpoints(state_dir: Path) -> Endpoints:
    """Raises NoEndpoints."""
    path = state_dir / FILE_NAME
    try:
        with path.open() as file:
            document = _parsed(file.read(MOST_CHARACTERS))
            endpoints = _endpoints(document, state_dir)
            current = document.get("remote") is True or _held(file)
    except FileNotFoundError:
        raise NoEndpoints(f"{path} does not exist") from None
    except PermissionError:
        raise NoEndpoints(
            f"{path} is readable only for the user of `cell dev`, usually root: run this command as that user"
        ) from None
    except OSError as error:
        raise NoEndpoints(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NoEndpoints(f"{path} is not a file of `cell dev`: {error}") from error
    if not current:
        raise NoEndpoints(f"{path} belongs to a `cell dev` that no longer runs")
    return endpoints


def _parsed(text: str) -> dict[str, object]:
    """Raises ValueError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _endpoints(document: Mapping[str, object], folder: Path) -> Endpoints:
    """folder: of relative paths. Raises ValueError."""
    tls = document.get("tls")
    if tls is not None and not isinstance(tls, dict):
        raise ValueError("`tls` is not a JSON object")
    cells = document.get("cells", [])
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise ValueError("`cells` is not a list of JSON objects")
    file_server = _text(document, "file_server", "")
    return Endpoints(
        bbs=_text(document, "bbs"),
        locket=_text(document, "locket"),
        file_server=file_server,
        file_server_of_cells=_text(document, "file_server_of_cells", file_server),
        logs=_text(document, "logs", ""),
        router=_text(document, "router", ""),
        tls=(folder / _text(tls, "ca"), folder / _text(tls, "cert"), folder / _text(tls, "key"))
        if tls
        else None,
        cells=tuple(CellEndpoint(_text(cell, "cell_id"), _text(cell, "admin")) for cell in cells),
    )


def _text(document: Mapping[str, object], key: str, default: str | None = None) -> str:
    """Raises ValueError."""
    value = document.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"`{key}` is not a string")
    return value


def _held(file: IO[str]) -> bool:
    """Whether another process holds the file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
