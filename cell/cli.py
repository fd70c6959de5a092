"""Building blocks of the commands: command, options, types of values, exit statuses of errors."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cell.assembly.terminal import visible_lines
from cell.errors import CommandError
from common.tasks import leaves

T = TypeVar("T")
C = TypeVar("C", bound="Command")
F = TypeVar("F", bound=Callable[..., Any])

BAD_USAGE: Final = 2
INTERRUPTED: Final = 130
"""128 + SIGINT, like a shell."""

DOCUMENT: Final = click.Path(readable=False)
"""The name of a file, or ``-`` for standard input."""

FILE: Final = click.Path(path_type=Path, readable=False)
FOLDER: Final = click.Path(path_type=Path, readable=False, file_okay=False)


def require_root(reason: str) -> None:
    """Raises CommandError."""
    if os.geteuid() != 0:
        raise CommandError(f"must be root: {reason}")


class Option(click.Option):
    """An option in a section of its own in the help, or one that excludes another option.

    section: heading; empty for the common section. excludes: names of the parameters that it
    does not go with.
    """

    def __init__(self, *names: Any, section: str = "", excludes: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section
        self._excludes = excludes

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        other = next((name for name in self._excludes if name in opts and self.name in opts), None)
        if other is not None and not ctx.resilient_parsing:
            flag = other.replace("_", "-")
            raise click.UsageError(f"argument {'/'.join(self.opts)}: not allowed with argument --{flag}", ctx)
        return super().handle_parse_result(ctx, opts, args)


def state_dir_option(default: Path) -> Callable[[F], F]:
    """The option of the commands that have a state folder."""
    text = f"state folder (default: {default})"
    return click.option("--state-dir", type=FOLDER, default=default, metavar="DIR", help=text)


class Command(click.Command):
    """A command whose errors become messages and exit statuses.

    errors: exit status by type of error. visible: makes the message safe for a terminal.
    usage_status, interrupted: exit statuses of a usage error and of Ctrl-C.
    """

    def __init__(
        self,
        *args: Any,
        errors: Mapping[type[Exception], int] | None = None,
        visible: Callable[[str], str] = visible_lines,
        usage_status: int = BAD_USAGE,
        interrupted: int = INTERRUPTED,
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.usage_status = usage_status
        self._errors = {**(errors or {}), CommandError: 1}
        self._visible = visible
        self._interrupted = interrupted

    def invoke(self, ctx: click.Context) -> int:
        """The exit status."""
        status: int | None = None
        kinds: tuple[type[Exception], ...] = tuple(self._errors)
        try:
            status = super().invoke(ctx)
        except* KeyboardInterrupt:
            status = self._interrupted
        except* kinds as group:
            for error in leaves(group):
                print(self._visible(self.message(ctx, error)), file=sys.stderr)
                status = next(code for kind, code in self._errors.items() if isinstance(error, kind))
        return status or 0

    def message(self, ctx: click.Context, error: Exception) -> str:
        return f"{ctx.command_path}: {error}"

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text as it is: examples and tables keep their lines."""
        formatter.write(f"\n{inspect.cleandoc(self.help or '')}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "") or "Options", []).append(row)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def command(kind: type[C], **settings: Any) -> Callable[[Callable[..., Any]], C]:
    """Make a function a command; its help is the docstring of its module."""

    def decorate(function: Callable[..., Any]) -> C:
        text = inspect.unwrap(function).__globals__["__doc__"]
        return click.command(cls=kind, help=text, **settings)(function)

    return decorate


def take(kind: Callable[..., T], values: MutableMapping[str, Any]) -> T:
    """Build a dataclass from the values with the names of its fields, and remove them."""
    return kind(**{field.name: values.pop(field.name) for field in fields(kind)})  # type: ignore[arg-type] # any callable: its fields are read
