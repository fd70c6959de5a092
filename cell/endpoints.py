"""Where a `cell dev` listens, as it leaves it in its state folder for other programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STATE_DIR = Path("/var/lib/diego-cell/dev")
FILE_NAME = "endpoints.json"


class NoEndpoints(Exception):
    """There is no such file, or it is not what a `cell dev` writes."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """tls: PEM files of CA, certificate and key for clients; None where everything is plain.

    file_server, logs: base URLs.
    """

    bbs: str
    locket: str
    file_server: str
    logs: str
    tls: tuple[Path, Path, Path] | None


def read_endpoints(state_dir: Path) -> Endpoints:
    """Raises NoEndpoints."""
    file = state_dir / FILE_NAME
    try:
        found = json.loads(file.read_text())
        tls = found.get("tls")
        return Endpoints(
            bbs=str(found["bbs"]),
            locket=str(found["locket"]),
            file_server=str(found.get("file_server", "")),
            logs=str(found.get("logs", "")),
            tls=tls and (Path(tls["ca"]), Path(tls["cert"]), Path(tls["key"])),
        )
    except FileNotFoundError:
        raise NoEndpoints(f"{file} is not there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoEndpoints(f"{file} cannot be read: {type(error).__name__}: {error}") from error
