"""List the outcomes of containers that the BBS has not recorded yet, and why they wait.

The rep reports how each container ended. It keeps the report on disk, and repeats it until the BBS has
answered. Without --config the command shows the cells of a `cell dev`.

  cell outcomes
  cell outcomes --config /var/vcap/jobs/rep/config/rep.json

Exit status 0, also if outcomes wait; 3 for invalid arguments; 4 if a rep does not answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bbs.client.oneshot import exchange
from bbs.client.transport import Policy, UnansweredError
from bbs.models.codec import InvalidDocument, parse
from bbs.serving.address import Address
from cell.assembly.terminal import Table
from cell.cli import FILE, Command, command, state_dir_option
from cell.client import output
from cell.client.output import Output
from cell.client.session import BAD_ARGUMENTS, EXIT_STATUSES, ComponentFailed
from cell.client.tables import SECOND_NS, age
from cell.client.target import BadArguments, TLSFiles
from cell.development.endpoints import DEFAULT_STATE_DIR, NoEndpoints, read_endpoints
from rep.config import ConfigError, load

EVERY_ADDRESS = ("", "0.0.0.0", "::")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Rep:
    """A rep of this machine. admin: the URL of its admin listener."""

    cell_id: str
    admin: str
    tls: TLSFiles | None


@command(
    Command,
    errors={**EXIT_STATUSES, ConfigError: BAD_ARGUMENTS},
    usage_status=BAD_ARGUMENTS,
    params=[*output.OPTIONS],
)
@click.option("--config", type=FILE, metavar="FILE", help="the rep.json of the cell")
@state_dir_option(DEFAULT_STATE_DIR)
def outcomes(config: Path | None, state_dir: Path, json: bool, table: bool) -> None:
    reps = [_configured(config)] if config is not None else _development(state_dir)
    shown = Output.chosen(sys.stdout, json=json, table=table)
    overviews = asyncio.run(_overviews(reps))
    rows = [
        {"cell_id": rep.cell_id, **row}
        for rep, overview in zip(reps, overviews, strict=True)
        for row in overview["outcomes"]
    ]
    shown.values(rows, lambda found: to_table(found, shown.now_ns()))
    for rep, overview in zip(reps, overviews, strict=True):
        if not overview["bbs_available"]:
            shown.say(f"{rep.cell_id}: the BBS did not answer the last report")
        if overview["journal_trouble"]:
            shown.say(f"{rep.cell_id}: reports cannot be stored: {overview['journal_trouble']}")


def to_table(rows: Sequence[dict[str, Any]], now_ns: int) -> Table:
    """One line for each waiting report."""
    headers = ("CELL", "CONTAINER", "REPORT", "AGE", "ATTEMPTS", "NEXT", "ANSWER")
    return Table(
        headers,
        [
            (
                row["cell_id"],
                row["container_guid"],
                row["report"],
                age(int(row["recorded_at"] * SECOND_NS), now_ns),
                str(row["attempts"]),
                f"{row['next_attempt_in_s']:.1f}s",
                row["answer"],
            )
            for row in rows
        ],
    )


def _configured(path: Path) -> Rep:
    """The rep of a rep.json. Raises ConfigError, BadArguments."""
    config = load(path)
    try:
        address = Address.parse(config.listen_addr)
    except ValueError as error:
        raise BadArguments(f"{path}: listen_addr: {error}") from error
    host = LOOPBACK if address.host in EVERY_ADDRESS else address.host
    local = Address(host, address.port)
    if not config.cert_file:
        return Rep(config.cell_id, local.url(), None)
    files = TLSFiles(Path(config.ca_cert_file), Path(config.cert_file), Path(config.key_file))
    return Rep(config.cell_id, local.url(tls=True), files)


def _development(state_dir: Path) -> list[Rep]:
    """The reps of a `cell dev`. Raises BadArguments."""
    try:
        endpoints = read_endpoints(state_dir)
    except NoEndpoints as error:
        raise BadArguments(
            f"no cell: name its rep.json with --config, or start `cell dev` ({error})"
        ) from error
    tls = TLSFiles(*endpoints.tls) if endpoints.tls else None
    return [Rep(cell.cell_id, cell.admin, tls) for cell in endpoints.cells]


async def _overviews(reps: Sequence[Rep]) -> list[dict[str, Any]]:
    return await asyncio.gather(*map(_overview, reps))


async def _overview(rep: Rep) -> dict[str, Any]:
    """What a rep answers. Raises ComponentFailed, BadArguments."""
    url = f"{rep.admin}/outcomes"
    context = rep.tls.context() if rep.tls and url.startswith("https:") else None
    try:
        answer = await exchange("GET", url, {}, b"", ssl_context=context, policy=Policy(attempts=1))
        overview = parse(answer.body) if answer.status == 200 else None
    except (UnansweredError, InvalidDocument) as error:
        raise ComponentFailed(f"cell {rep.cell_id}: {error}") from error
    if not isinstance(overview, dict) or not isinstance(overview.get("outcomes"), list):
        raise ComponentFailed(f"cell {rep.cell_id}: {url} answered {answer.status} without outcomes")
    return overview
