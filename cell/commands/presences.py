"""List the presences in Locket.

cell presences
"""

from __future__ import annotations

from bbs.models.locket import TypeCode
from cell.client.resources import list_resources
from cell.client.session import Session, bbs_command


@bbs_command(asks_bbs=False)
async def presences(session: Session) -> None:
    await list_resources(session, TypeCode.PRESENCE)
