"""Show a finished run: the failing step first, then the tree with durations.

TRACE is a file written by `cell run --trace`, or the output of `cell run --json`; `-` reads standard input.

  cell run tree.json --image busybox --trace run.trace
  cell explain run.trace

Exit status: 0, or 2 if the file is not a trace.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from cell.assembly.terminal import one_line
from cell.runner.errors import BAD_INPUT, BadInput
from cell.runner.explaining import explanation, read_trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trace", metavar="TRACE", help="the file, `-` for standard input")


def run(args: argparse.Namespace) -> int:
    try:
        events = read_trace(args.trace)
    except BadInput as error:
        print(f"cell explain: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    console = Console(highlight=False)
    for part in explanation(events):
        console.print(part)
    return 0
