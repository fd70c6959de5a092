"""Registry of the commands of `cell`: names, help lines, lazy modules.

Only the module of the given command is imported, so `cell tasks` does not load the container engine.
"""

from __future__ import annotations

import importlib
from typing import Any, cast

import click

COMMANDS: dict[str, str] = {
    "dev": "run a control plane and a cell on this machine, in the foreground",
    "demo": "start `cell dev`, run an LRP and a Task with it, and clean up",
    "lrps": "list the instances of LRPs, or the DesiredLRPs",
    "tasks": "list Tasks",
    "cells": "list cells, or show their state",
    "domains": "list the fresh domains, or keep one fresh",
    "events": "show events as they occur",
    "desire": "desire an LRP",
    "scale": "change the number of instances of an LRP",
    "stop": "stop instances of an LRP, or cancel a Task",
    "delete": "delete an LRP or a completed Task",
    "task": "run a Task",
    "locks": "list the locks in Locket",
    "presences": "list the presences in Locket",
    "stage": "stage an app from a folder or an image",
    "push": "stage an app and run it",
    "ssh": "open a shell in an instance of an app, or run a command there",
    "logs": "show the log of an app",
    "control-plane": "run a control plane without a cell",
    "rep": "run a cell under a control plane, configured by a rep.json",
    "router": "route HTTP requests to the instances of apps",
    "ssh-proxy": "run the SSH proxy, through which users reach instances",
    "check": "check documents and configurations without running them",
    "run": "run one action tree, Task or DesiredLRP in a new container",
    "network": "show the ports, egress rules and counters of containers",
    "outcomes": "list the outcomes of containers that the BBS has not recorded yet",
    "drain": "evacuate a cell, and wait until it has ended",
    "orphans": "list the containers of a cell that its rep does not know, or remove them",
    "clean": "remove the containers and the network of a cell that will not start again",
    "explain": "show a finished run as a tree, the failing step first",
    "completion": "print the completion script of a shell",
    "support-bundle": "collect what is needed to find out what is wrong with a cell, without secrets",
    "version": "show the version of the cell, and of what it runs on",
    "help": "describe a command, or list all commands",
}


def module_of(name: str) -> str:
    """The module of a command; its function has the module's name."""
    return f"cell.commands.{name.replace('-', '_')}"


class LazyCommand(click.Command):
    """A command's name and help line; its module is imported for its arguments."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command itself, so that click runs and completes that one."""
        module = module_of(cast(str, self.name))
        command: click.Command = getattr(importlib.import_module(module), module.rpartition(".")[2])
        return command.make_context(info_name, args, parent, **extra)


class Registry(click.Group):
    """The commands in the order of the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


commands = click.version_option(package_name="diego-cell", message="%(prog)s %(version)s")(
    Registry(
        "cell",
        commands=[LazyCommand(name, short_help=text) for name, text in COMMANDS.items()],
        help="The Diego cell on Docker.",
        epilog="`cell COMMAND --help` describes a command.",
        subcommand_metavar="COMMAND [ARGS]...",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
)
