"""Show a finished run: the failing step first, then the tree with durations.

TRACE is a file written by `cell run --trace`, or the output of `cell run --json`; `-` reads standard input.

  cell run tree.json --image busybox --trace run.trace
  cell explain run.trace

Exit status: 0, or 2 if the file is not a trace.
"""

from __future__ import annotations

import click
from rich.console import Console

from cell.assembly.terminal import one_line
from cell.cli import DOCUMENT, Command, command
from cell.errors import BAD_INPUT, BadInput
from cell.runner.explaining import explanation, read_trace


@command(Command, errors={BadInput: BAD_INPUT}, visible=one_line)
@click.argument("trace", metavar="TRACE", type=DOCUMENT, help="the file; - for standard input")
def explain(trace: str) -> None:
    console = Console(highlight=False)
    for part in explanation(read_trace(trace)):
        console.print(part)
