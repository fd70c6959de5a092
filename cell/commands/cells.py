"""List the cells; with --state show the free resources and the work of each cell.

cell cells
cell cells cell-1 --state
"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from bbs.client.oneshot import exchange
from bbs.client.transport import UnansweredError
from bbs.models.auction import CellState
from bbs.models.cell import CellPresence
from bbs.models.codec import InvalidDocument, from_json, parse
from cell.apps import suggestions
from cell.client import tables
from cell.client.session import CommandFailed, ComponentFailed, Session, bbs_command


@bbs_command()
@click.argument(
    "cell_id", default="", metavar="[ID]", shell_complete=suggestions.cells, help="only this cell"
)
@click.option("--state", is_flag=True, help="show the state that the reps report")
async def cells(session: Session, cell_id: str, state: bool) -> None:
    found = [cell for cell in await session.bbs.cells() if cell_id in ("", cell.cell_id)]
    if cell_id and not found:
        raise CommandFailed("Cell not found")
    if not state:
        session.output.models(found, tables.cells)
        return
    states = await asyncio.gather(*(_state(session, cell) for cell in found))
    session.output.values(
        states, lambda rows: tables.cell_states([from_json(CellState, state) for state in rows])
    )


async def _state(session: Session, cell: CellPresence) -> dict[str, Any]:
    """The state in a rep's answer; an unhealthy cell answers with status 503 and its state."""
    url = f"{cell.rep_url or cell.rep_address}/state"
    context = session.target.ssl_context() if url.startswith("https:") else None
    try:
        answer = await exchange("GET", url, {}, b"", ssl_context=context, policy=session.target.policy())
        state = parse(answer.body)
        from_json(CellState, state if isinstance(state, dict) else {})
    except UnansweredError as error:
        raise ComponentFailed(f"cell {cell.cell_id}: {error}") from error
    except InvalidDocument as error:
        raise ComponentFailed(f"cell {cell.cell_id}: {url} answered {answer.status}: {error}") from error
    if not isinstance(state, dict):
        raise ComponentFailed(f"cell {cell.cell_id}: {url} answered {answer.status} without a state")
    return state
