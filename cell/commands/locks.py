"""List the locks in Locket.

cell locks
"""

from __future__ import annotations

from typing import Any

from bbs.models.locket import TypeCode
from cell.cli import command, take
from cell.client.resources import list_resources
from cell.client.session import BBSCommand, Common


@command(BBSCommand)
def locks(**values: Any) -> None:
    list_resources(take(Common, values), TypeCode.LOCK)
