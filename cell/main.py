"""The command line: ``cell COMMAND ...``, and ``rep`` as the Go program's name for ``cell rep``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

import cell.commands.completion  # noqa: F401 - registers its class for bash
from cell.cli import INTERRUPTED
from cell.registry import commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; for a usage error it is the command's own."""
    try:
        return int(commands.main(argv, prog_name="cell", standalone_mode=False))
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        context = error.ctx or click.Context(commands)
        print(context.get_usage(), file=sys.stderr)
        print(f"{context.command_path}: error: {error.format_message()}", file=sys.stderr)
        return getattr(context.command, "usage_status", error.exit_code)
    except click.Abort:
        return INTERRUPTED


def rep() -> int:
    """Entry point ``rep``: takes the arguments of the Go program (``-config``, ``-zone``)."""
    return main(["rep", *sys.argv[1:]])
