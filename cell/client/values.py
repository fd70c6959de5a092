"""Types of the values of arguments and options."""

from __future__ import annotations

import click

from bbs.serving.address import Address
from common.gotext import SECOND, InvalidDuration, parse_duration

MEGABYTES = {"M": 1, "G": 1024, "T": 1024 * 1024}


def index(text: str) -> int:
    """The index of an instance."""
    return _natural(text, "an index")


def count(text: str) -> int:
    """A number of instances."""
    return _natural(text, "a number of instances")


def whole_seconds(text: str) -> int:
    """The seconds of a duration such as ``1h``, rounded up."""
    try:
        ns = parse_duration(text)
    except InvalidDuration as error:
        raise click.BadParameter(f"{error}; expected one such as 30s or 1h") from error
    if ns < 0:
        raise click.BadParameter(f"duration {text!r} is negative")
    return -(-ns // SECOND)


def listen_address(text: str | Address) -> Address:
    """Host and port of ``HOST:PORT``."""
    try:
        return text if isinstance(text, Address) else Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def megabytes(text: str) -> int:
    """The MiB of a size such as ``256M`` or ``1G``."""
    number, unit = text[:-1], text[-1:].upper()
    if unit not in MEGABYTES or not (number.isascii() and number.isdecimal()) or not int(number):
        raise click.BadParameter(f"{text!r} is no size: expected one such as 256M or 1G")
    return int(number) * MEGABYTES[unit]


def variable(text: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is no variable: expected NAME=VALUE")
    return name, value


def _natural(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= 2**31:
        raise click.BadParameter(f"{text!r} is not {what}: expected a whole number of 0 or more")
    return int(text)
