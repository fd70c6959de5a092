"""The command line: ``cell COMMAND ...``, and ``rep`` as the Go program's name for ``cell rep``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cell.registry import COMMANDS, load


def _overview() -> argparse.ArgumentParser:
    lines = [f"  {name:10} {command.help}" for name, command in COMMANDS.items()]
    return argparse.ArgumentParser(
        prog="cell",
        usage="cell COMMAND [options]",
        description="The Diego cell on Docker.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`cell COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; for a usage error it is the command's own."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        _overview().print_help(sys.stdout if words else sys.stderr)
        return 0 if words else 2
    name, *rest = words
    if name not in COMMANDS:
        print(f"cell: unknown command {name!r}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, parser = load(name)
    return module.run(parser.parse_args(rest))


def rep() -> int:
    """Entry point ``rep``: takes the arguments of the Go program (``-config``, ``-zone``)."""
    return main(["rep", *sys.argv[1:]])
