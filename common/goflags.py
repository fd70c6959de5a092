"""Command-line flags of all in-container programs: ``-name=value``, ``--name value``, booleans without value.

Imports as little as possible: see ``common.gotext``.
"""

from __future__ import annotations

import sys

from common.gotext import format_duration, parse_duration, parse_integer, quote

TYPE_CHECKING = False  # avoids importing typing, which costs as much as the rest of healthcheck
if TYPE_CHECKING:
    from collections.abc import Callable

BAD_FLAG = 2
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class FlagError(Exception):
    """An invalid value of a flag; ``str()`` is the text that follows ``for flag -x: ``."""


class FlagExit(Exception):
    """Parsing ends the program: a usage request or an invalid flag. Everything is already printed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Flag:
    """One flag: its value, and its conversion from text."""

    def __init__(self, name: str, default: object, shown: str, help_text: str, kind: str) -> None:
        self.name = name
        self.value = default
        self.shown = shown
        self.help_text = help_text
        self.kind = kind


class FlagSet:
    """The flags of one program. ``name`` appears after ``Usage of``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._flags: dict[str, Flag] = {}
        self._setters: dict[str, Callable[[str], object]] = {}

    def string(self, name: str, default: str, help_text: str) -> None:
        shown = quote(default) if default else ""
        self._define(Flag(name, default, shown, help_text, "string"), lambda text: text)

    def boolean(self, name: str, help_text: str) -> None:
        """A flag that is false by default."""
        self._define(Flag(name, False, "", help_text, ""), _boolean)

    def integer(self, name: str, default: int, help_text: str) -> None:
        self._define(Flag(name, default, str(default) if default else "", help_text, "int"), _integer)

    def duration(self, name: str, default: int, help_text: str) -> None:
        """A duration flag; ``default`` and value in nanoseconds."""
        shown = format_duration(default) if default else ""
        self._define(Flag(name, default, shown, help_text, "duration"), _duration)

    def custom(self, name: str, convert: Callable[[str], object], help_text: str) -> None:
        """A flag with its own check and no default value: ``convert`` may raise FlagError."""
        self._define(Flag(name, None, "", help_text, "value"), convert)

    def _define(self, flag: Flag, setter: Callable[[str], object]) -> None:
        self._flags[flag.name] = flag
        self._setters[flag.name] = setter

    def text(self, name: str) -> str:
        value = self._flags[name].value
        assert isinstance(value, str)
        return value

    def number(self, name: str) -> int:
        """The value of an integer flag, or of a duration flag in nanoseconds."""
        value = self._flags[name].value
        assert isinstance(value, int)
        return value

    def is_set(self, name: str) -> bool:
        return bool(self._flags[name].value)

    def strings(self) -> list[tuple[str, str]]:
        """(name, value) of all string flags, by name."""
        return [(flag.name, flag.value) for flag in self._sorted() if isinstance(flag.value, str)]

    def value(self, name: str) -> object:
        return self._flags[name].value

    def parse(self, arguments: list[str]) -> list[str]:
        """Parse the flags in ``arguments`` and return the remaining arguments. Raises FlagExit."""
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            argument = rest.pop(0)
            if argument == "--":
                break
            self._parse_one(argument, rest)
        return rest

    def _parse_one(self, argument: str, rest: list[str]) -> None:
        stripped = argument[2:] if argument.startswith("--") else argument[1:]
        if not stripped or stripped[0] in "-=":
            self._fail(f"bad flag syntax: {argument}")
        name, equals, value = stripped.partition("=")
        flag = self._flags.get(name)
        if flag is None:
            if name in ("h", "help"):
                self.print_usage()
                raise FlagExit(0)
            self._fail(f"flag provided but not defined: -{name}")
            return
        boolean = isinstance(flag.value, bool)
        if not equals and boolean:
            value = "true"
        elif not equals:
            if not rest:
                self._fail(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        try:
            flag.value = self._setters[name](value)
        except FlagError as error:
            if boolean:
                self._fail(f"invalid boolean value {quote(value)} for -{name}: {error}")
            self._fail(f"invalid value {quote(value)} for flag -{name}: {error}")

    def _fail(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")
        self.print_usage()
        raise FlagExit(BAD_FLAG)

    def print_usage(self) -> None:
        sys.stderr.write(f"Usage of {self.name}:\n")
        self.print_defaults()

    def print_defaults(self) -> None:
        """Print one entry per flag, by name, to standard error."""
        for flag in self._sorted():
            kind = f" {flag.kind}" if flag.kind else ""
            default = f" (default {flag.shown})" if flag.shown else ""
            sys.stderr.write(f"  -{flag.name}{kind}\n    \t{flag.help_text}{default}\n")

    def _sorted(self) -> list[Flag]:
        return [self._flags[name] for name in sorted(self._flags)]


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise FlagError("parse error")


def _integer(text: str) -> int:
    try:
        return parse_integer(text)
    except OverflowError as error:
        raise FlagError("value out of range") from error
    except ValueError as error:
        raise FlagError("parse error") from error


def _duration(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise FlagError("parse error") from error
