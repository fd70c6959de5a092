"""Folders, ports and names of the containers, and the variables with which a user changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bbs.models.text import whole_number
from cell.errors import CommandError
from rep.ending import Ending

BUNDLE: Final = Path("/usr/lib/diego-cell/bundle")
"""Archives of the in-container programs in the image."""
SHARED: Final = Path("/var/lib/diego-cell/shared")
"""Volume of all services: the CA, and the secrets of the ssh proxy."""
SCRAPER: Final = Path("/var/lib/diego-cell/scraper")
"""Volume of the control plane and Prometheus: the certificate with which metrics are read."""
PLANE: Final = Path("/var/lib/diego-cell/dev")
"""Volume of the control plane; the default state folder of the commands."""
CELLS: Final = Path("/var/lib/diego-cell/cells")
"""Volume of all cells; each uses a folder of its own in it."""
RUNTIME: Final = Path("/run/diego-cell")
"""Files of one container: certificates, configuration."""

CONTROL_PLANE: Final = "control-plane"
"""Name of the control plane in the containers' network."""
METRON: Final = "metron"
BBS_PORT: Final = 8889
LOCKET_PORT: Final = 8891
API_PORT: Final = 8888
FILE_SERVER_PORT: Final = 8080
LOGS_PORT: Final = 8087
PAGE_PORT: Final = 8086
LOGGREGATOR_PORT: Final = 3458
ADMIN_PORT: Final = 1800
NETWORK_PORT: Final = 1801
ROUTER_PORT: Final = 8000
ROUTER_HEALTH_PORT: Final = 8001
SSH_PORT: Final = 2222
SSH_HEALTH_PORT: Final = 2223

APP_SUBNET: Final = "10.255.0.0/16"
"""Addresses of the containers of a cell; each cell is a network of its own."""
NAME_SERVER: Final = "169.254.53.53"
"""Address of the name server of a cell's containers."""
POLLING_INTERVAL: Final = "10s"
EVACUATION_TIMEOUT: Final = "45s"
"""Less than the time that Docker gives the container of a cell to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSettings:
    """Variables of a cell.

    memory_mb, disk_mb: capacity. on_stop: as in rep.json. dockerd: further options of the engine.
    """

    memory_mb: int
    disk_mb: int
    on_stop: Ending
    dockerd: tuple[str, ...]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Raises CommandError."""
        on_stop = environment.get("CELL_ON_STOP") or Ending.DESTROY.value
        if on_stop not in {each.value for each in Ending}:
            raise CommandError(
                f"CELL_ON_STOP is {on_stop!r}: expected {', '.join(each.value for each in Ending)}"
            )
        return cls(
            memory_mb=_number(environment, "CELL_MEMORY_MB", 2048),
            disk_mb=_number(environment, "CELL_DISK_MB", 10240),
            on_stop=Ending(on_stop),
            dockerd=tuple(environment.get("DOCKERD_OPTIONS", "").split()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPorts:
    """Ports of the docker host at which clients outside reach the services."""

    bbs: int
    locket: int
    api: int
    file_server: int
    logs: int
    page: int
    router: int
    ssh: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Raises CommandError."""
        return cls(
            bbs=_number(environment, "BBS_PORT", BBS_PORT),
            locket=_number(environment, "LOCKET_PORT", LOCKET_PORT),
            api=_number(environment, "API_PORT", API_PORT),
            file_server=_number(environment, "FILE_SERVER_PORT", FILE_SERVER_PORT),
            logs=_number(environment, "LOGS_PORT", LOGS_PORT),
            page=_number(environment, "PAGE_PORT", PAGE_PORT),
            router=_number(environment, "ROUTER_PORT", ROUTER_PORT),
            ssh=_number(environment, "SSH_PORT", SSH_PORT),
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    """A positive number. Raises CommandError."""
    text = environment.get(name, "")
    if not text:
        return default
    number = whole_number(text, 2**31 - 1)
    if not number:
        raise CommandError(f"{name} is {text!r}: expected a positive number")
    return number
