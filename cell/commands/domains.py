"""List the fresh domains, or with --set keep one fresh.

A BBS stops instances without a DesiredLRP only in fresh domains.

  cell domains
  cell domains --set cf-apps --ttl 2m
"""

from __future__ import annotations

import click

from cell.apps import suggestions
from cell.client import tables
from cell.client.session import Session, bbs_command
from cell.client.target import BadArguments
from cell.client.values import whole_seconds


@bbs_command()
@click.option(
    "--set",
    "domain",
    default="",
    metavar="DOMAIN",
    shell_complete=suggestions.domains,
    help="keep this domain fresh",
)
@click.option("--ttl", type=whole_seconds, metavar="TIME", help="how long it is fresh (default: forever)")
async def domains(session: Session, domain: str, ttl: int | None) -> None:
    if domain:
        await session.bbs.upsert_domain(domain, ttl or 0)
        session.output.confirm(f"{domain} is fresh " + (f"for {ttl} s" if ttl else "and does not expire"))
        return
    if ttl is not None:
        raise BadArguments("--ttl goes with --set DOMAIN")
    session.output.values(await session.bbs.domains(), tables.domains)
