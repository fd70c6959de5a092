"""Levels of the component log: names, the packages that they apply to, and changes while a program runs."""

from __future__ import annotations

import logging
from typing import Final

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
OWN_PACKAGES: Final = ("bbs", "cell", "common", "executor", "healthcheck", "lifecycle", "rep", "sshd")
"""Packages with the configured level. Other libraries log from WARNING on, to limit the volume."""


class UnknownLevel(ValueError):
    """The text is no level; the message names those that there are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"log_level is {name!r}, must be one of {', '.join(LEVELS)}")


def set_level(name: str) -> None:
    """Log from this level on. Raises UnknownLevel."""
    if name not in LEVELS:
        raise UnknownLevel(name)
    level = LEVELS[name]
    logging.getLogger().setLevel(max(level, logging.WARNING))  # for libraries
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(level)


def current_level() -> str:
    """The name of the current level."""
    level = logging.getLogger(OWN_PACKAGES[0]).getEffectiveLevel()
    return next((name for name, value in LEVELS.items() if value >= level), "fatal")
