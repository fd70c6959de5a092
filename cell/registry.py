"""Registry of the commands of `cell`: modules, help lines, parsers.

Only the module of the given command is imported, so `cell tasks` does not load the container engine.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol, cast


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its module, its help line, its exit status for a usage error."""

    module: str
    help: str
    usage_status: int = 2


BAD_ARGUMENTS = 3
"""Exit status for usage errors of commands that call a BBS, like cfdot."""

COMMANDS: dict[str, Command] = {
    "dev": Command("cell.commands.dev", "run a control plane and a cell on this machine, in the foreground"),
    "demo": Command("cell.commands.demo", "start `cell dev`, run an LRP and a Task through it, and clean up"),
    "lrps": Command("cell.commands.lrps", "list instances of LRPs, or what is desired", BAD_ARGUMENTS),
    "tasks": Command("cell.commands.tasks", "list Tasks", BAD_ARGUMENTS),
    "cells": Command("cell.commands.cells", "list cells, or ask them for their state", BAD_ARGUMENTS),
    "domains": Command("cell.commands.domains", "list domains, or keep one fresh", BAD_ARGUMENTS),
    "events": Command("cell.commands.events", "show what happens, as it happens", BAD_ARGUMENTS),
    "desire": Command("cell.commands.desire", "desire an LRP", BAD_ARGUMENTS),
    "scale": Command("cell.commands.scale", "change how many instances of an LRP should run", BAD_ARGUMENTS),
    "stop": Command("cell.commands.stop", "stop instances of an LRP, or cancel a Task", BAD_ARGUMENTS),
    "delete": Command("cell.commands.delete", "delete an LRP, or a Task that is over", BAD_ARGUMENTS),
    "task": Command("cell.commands.task", "have a Task run", BAD_ARGUMENTS),
    "locks": Command("cell.commands.locks", "list the locks in Locket", BAD_ARGUMENTS),
    "presences": Command("cell.commands.presences", "list the presences in Locket", BAD_ARGUMENTS),
    "stage": Command("cell.commands.stage", "stage an app from a folder or an image", BAD_ARGUMENTS),
    "push": Command("cell.commands.push", "stage an app and run it", BAD_ARGUMENTS),
    "ssh": Command("cell.commands.ssh", "a shell or a command in an instance of an app", BAD_ARGUMENTS),
    "logs": Command("cell.commands.logs", "show what an app says", BAD_ARGUMENTS),
    "rep": Command("cell.commands.rep", "run a cell under a control plane, as configured by a rep.json"),
    "ssh-proxy": Command("cell.commands.ssh_proxy", "let users into instances over SSH"),
    "run": Command("cell.commands.run", "run one action tree, Task or DesiredLRP in a fresh container"),
    "network": Command("cell.commands.network", "show ports, egress rules and counters of containers"),
    "explain": Command("cell.commands.explain", "show a finished run as a tree, the failing step first"),
    "completion": Command("cell.commands.completion", "print the completion script of a shell"),
}


class Parser(argparse.ArgumentParser):
    """Exits with the command's own status on a usage error."""

    usage_status = 2

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.usage_status, f"{self.prog}: error: {message}\n")


class CommandModule(Protocol):
    """The interface of a command's module."""

    __doc__: str | None
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def load(name: str) -> tuple[CommandModule, Parser]:
    """A command's module and its parser. Raises KeyError for an unknown name."""
    command = COMMANDS[name]
    module = cast(CommandModule, importlib.import_module(command.module))
    parser = Parser(
        prog=f"cell {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.usage_status = command.usage_status
    module.add_arguments(parser)
    return module, parser
