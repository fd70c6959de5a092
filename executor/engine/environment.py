"""Environments of processes: merging layers, the engine's defaults, and what a shell would spoil. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

Env = tuple[tuple[str, str], ...]
"""Variables in order, each name once."""

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_ENGINE_AND_SHELL = ("HOSTNAME", "PWD", "OLDPWD", "SHLVL", "REPLY")
"""Variables that the engine's exec or the tiny parent's shell adds or changes by itself."""

_SHELL_OWN = frozenset({*_ENGINE_AND_SHELL, "IFS", "PPID", "OPTIND"})
"""Variables that the shell does not pass on with the value it was given."""


def merge_env(layers: Iterable[Iterable[tuple[str, str]]]) -> Env:
    """One environment out of layers, the strongest last: a name keeps its first place and its last value."""
    merged: dict[str, str] = {}
    for layer in layers:
        merged.update(layer)
    return tuple(merged.items())


def parse_env(lines: Iterable[str]) -> Env:
    """``NAME=value`` lines, as an image's configuration has them."""
    parts = (line.partition("=") for line in lines)
    return merge_env([[(name, value) for name, _, value in parts]])


def with_defaults(env: Env, *, uid: int, user: str, home: str) -> Env:
    """Add PATH, USER and HOME where they are absent."""
    defaults = (("PATH", ROOT_PATH if uid == 0 else USER_PATH), ("USER", user or "root"), ("HOME", home))
    present = {name for name, _ in env}
    return (*env, *(pair for pair in defaults if pair[0] not in present))


def split_for_shell(env: Env) -> tuple[Env, Env, tuple[str, ...]]:
    """How to get ``env`` unchanged through a shell that starts the process.

    Returns what the shell can hand on, what must be set after it (names that are no shell names, or that
    the shell uses itself), and the names it has to unset.
    """
    plain = tuple((name, value) for name, value in env if _NAME.match(name) and name not in _SHELL_OWN)
    special = tuple(pair for pair in env if pair not in plain)
    return plain, special, _ENGINE_AND_SHELL
