"""The entry point of the image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from cell.container.cell import run_cell
from cell.container.components import run_control_plane, run_router, run_ssh_proxy
from cell.errors import CommandError

ROLES: Final[Mapping[str, Callable[[], int]]] = {
    "cell": run_cell,
    "control-plane": run_control_plane,
    "router": run_router,
    "ssh-proxy": run_ssh_proxy,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"expected one of {', '.join(ROLES)}", file=sys.stderr)
        return 2
    try:
        return ROLES[arguments[0]]()
    except (CommandError, OSError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
