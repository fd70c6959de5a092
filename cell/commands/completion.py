"""Print a shell script that completes commands, options and values of `cell`.

Names of apps, guids and cells come from the BBS that the command line, the variables or a running `cell dev`
names.

  cell completion bash > /etc/bash_completion.d/cell
  cell completion zsh > "${fpath[1]}/_cell"
  cell completion fish > ~/.config/fish/completions/cell.fish
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cell.cli import Command, command


@command(Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    script = get_completion_class(shell)
    assert script is not None
    print(script(ctx.find_root().command, {}, "cell", "_CELL_COMPLETE").source(), end="")
