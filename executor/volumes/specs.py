"""Discovery files of volume drivers, named after their driver. Pure except for reading the files.

``<name>.json``  an object with ``Addr`` and optionally ``Name``, ``TLSConfig``, ``UniqueVolumeIds``
``<name>.spec``  the address
``<name>.sock``  the driver's socket
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

_SUFFIXES = (".json", ".spec", ".sock")
"""In order of precedence."""

SPEC_BYTES_MOST = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """TLS settings of a driver; paths are host paths, empty ones are not used."""

    insecure_skip_verify: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSpec:
    """Connection settings of a driver.

    url: of its HTTP API. socket: path of its unix socket; empty: the network.
    """

    name: str
    url: str
    socket: str = ""
    tls: TLSFiles | None = None
    unique_volume_ids: bool = False


class InvalidSpec(ValueError):
    """The file does not describe a supported driver."""


def find_specs(directories: Iterable[str]) -> dict[str, DriverSpec]:
    """All registered drivers by name; the first registration of a name wins."""
    found: dict[str, DriverSpec] = {}
    for directory in directories:
        for suffix in _SUFFIXES:
            for path in sorted(Path(directory).glob(f"*{suffix}")):
                if path.stem not in found:
                    try:
                        found[path.stem] = read_spec(path)
                    except (OSError, InvalidSpec) as error:
                        log.error("invalid-volume-driver-spec", extra={"data": _data(path, error)})
                    except Exception as error:  # one file must not hide the others
                        data = _data(path, error)
                        log.error("invalid-volume-driver-spec", exc_info=error, extra={"data": data})
    return found


def read_spec(path: Path) -> DriverSpec:
    """The driver that ``path`` describes. Raises InvalidSpec, OSError."""
    if path.suffix == ".sock":
        return spec_of(path.stem, f"unix://{path}")
    text = _content(path)
    if path.suffix == ".spec":
        return spec_of(path.stem, text.strip())
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpec("not a JSON object")
    return spec_of(
        path.stem,
        _text(document, "Addr"),
        tls=_tls(document.get("TLSConfig")),
        unique_volume_ids=document.get("UniqueVolumeIds") is True,
    )


def spec_of(
    name: str, address: str, *, tls: TLSFiles | None = None, unique_volume_ids: bool = False
) -> DriverSpec:
    """Parse an address: ``unix://`` and a path, or ``tcp://``, ``http://``, ``https://`` and a host.

    Raises InvalidSpec.
    """
    try:
        parts = urlsplit(address)
        valid_port = parts.port is None or parts.port > 0
    except ValueError as error:
        raise InvalidSpec(f"address {address!r}: {error}") from error
    if parts.scheme == "unix" and parts.path:
        return DriverSpec(
            name=name,
            url="http://driver",
            socket=f"{parts.netloc}{parts.path}",
            unique_volume_ids=unique_volume_ids,
        )
    if parts.scheme in ("tcp", "http", "https") and parts.hostname and valid_port:
        scheme = "https" if tls is not None or parts.scheme == "https" else "http"
        url = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return DriverSpec(name=name, url=url, tls=tls, unique_volume_ids=unique_volume_ids)
    raise InvalidSpec(f"address {address!r} is neither unix://PATH nor http(s)://HOST:PORT")


def _content(path: Path) -> str:
    """The text of a regular file. Raises InvalidSpec for other kinds of files and for long files."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidSpec("not a regular file")
        data = file.read(SPEC_BYTES_MOST + 1)
    if len(data) > SPEC_BYTES_MOST:
        raise InvalidSpec(f"more than {SPEC_BYTES_MOST} bytes")
    return data.decode("utf-8", "replace")


def _tls(value: object) -> TLSFiles | None:
    if not isinstance(value, dict):
        return None
    return TLSFiles(
        insecure_skip_verify=value.get("InsecureSkipVerify") is True,
        ca_file=_text(value, "CAFile"),
        cert_file=_text(value, "CertFile"),
        key_file=_text(value, "KeyFile"),
    )


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        raise InvalidSpec(f"{key} is not a string")
    return value


def _data(path: Path, error: Exception) -> dict[str, str]:
    return {"path": str(path), "error": str(error)}
