"""Print a shell script that completes commands, options and values of `cell`.

Names of apps, guids and cells come from the BBS that the command line, the variables or a running `cell dev`
names.

  cell completion bash > /etc/bash_completion.d/cell
  cell completion zsh > "${fpath[1]}/_cell"
  cell completion fish > ~/.config/fish/completions/cell.fish
"""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from cell.cli import Command, command


@add_completion_class
class BashLineComplete(BashComplete):
    """Completes from the whole line: bash splits words at ``:`` and ``=``, for example a URL."""

    source_template = BashComplete.source_template.replace("${COMP_WORDS[*]}", "${COMP_LINE:0:COMP_POINT}")

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one to complete, and that word."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return words, "" if line[-1:].isspace() or not words else words.pop()


@command(Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    script = get_completion_class(shell)
    assert script is not None
    print(script(ctx.find_root().command, {}, "cell", "_CELL_COMPLETE").source(), end="")
