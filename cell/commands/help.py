"""Describe a command, or list all commands.

cell help
cell help push
"""

from __future__ import annotations

import click

from cell.cli import Command, command
from cell.registry import COMMANDS, commands


@command(Command)
@click.argument("name", required=False, metavar="[COMMAND]", type=click.Choice(list(COMMANDS)))
def help(name: str | None) -> None:
    print(described(name))


def described(name: str | None) -> str:
    """The help of a command, or of `cell` itself."""
    parent = click.Context(commands, info_name="cell", **commands.context_settings)
    if name is None:
        return commands.get_help(parent)
    with commands.commands[name].make_context(name, [], parent, resilient_parsing=True) as context:
        return context.get_help()
