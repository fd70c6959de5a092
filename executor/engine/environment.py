"""Environments of processes: merging layers, the engine's defaults, and the way through a shell. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Env = tuple[tuple[str, str], ...]
"""Variables in order, each name once."""

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER_PATH = "/usr/local/bin:/usr/bin:/bin"


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


def carried_over(env: Env) -> str:
    """Words of a script that hand the same harmless variables on to another one, to be expanded there."""
    return " ".join(f'E{number}="$E{number}"' for number in range(len(env)))


def handed_over(env: Env) -> tuple[list[str], str]:
    """How ``env`` gets through the tiny parent's shells unchanged: variables for them, and words of a script.

    A shell keeps variables in an order of its own, leaves out names that are no shell names, and has some
    that mean something to it. So each whole ``NAME=value`` is the value of a variable with a harmless name,
    and the words expand to them, in order, where the program is started.
    """
    harmless = [f"E{number}" for number in range(len(env))]
    variables = [f"{name}={key}={value}" for name, (key, value) in zip(harmless, env, strict=True)]
    return variables, " ".join(f'"${name}"' for name in harmless)
