"""List the presences in Locket.

cell presences
"""

from __future__ import annotations

from typing import Any

from bbs.models.locket import TypeCode
from cell.cli import command, take
from cell.client.resources import list_resources
from cell.client.session import BBSCommand, Common


@command(BBSCommand)
def presences(**values: Any) -> None:
    list_resources(take(Common, values), TypeCode.PRESENCE)
