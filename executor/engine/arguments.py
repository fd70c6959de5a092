"""Arguments and variables of a program: passed through shells, and within the kernel's limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from executor.environment import Env

STRING_BYTES_MOST = 32 * 4096
"""Longest argument or variable including its NUL: the kernel's ``MAX_ARG_STRLEN`` with 4 KiB pages."""

POINTER_BYTES = 8
ARGUMENT_BYTES_FLOOR, ARGUMENT_BYTES_CEILING = 128 * 1024, 6 << 20
"""Minimum and maximum of the limit for all arguments and variables: see the kernel's
``bprm_stack_limits``.
"""


def passed_on(variables: Iterable[str]) -> str:
    """Shell words that pass the same variables on to another script, which expands them."""
    names = (variable.partition("=")[0] for variable in variables)
    return " ".join(f'{name}="${name}"' for name in names)


def quoted(env: Env) -> tuple[list[str], str]:
    """Pass ``env`` unchanged through the tiny parent's shells: variables, and the words that expand to them.

    A shell reorders variables, drops invalid shell names, and interprets some variables. So each whole
    ``NAME=value`` is the value of a variable with a neutral name. The words expand to these values, in
    order, where the program starts. A string too long for the added name is split in two variables.
    """
    variables: list[str] = []
    words: list[str] = []
    for number, (key, value) in enumerate(env):
        whole, name = f"{key}={value}", f"E{number}"
        fits = string_bytes(whole) + len(f"{name}=") <= STRING_BYTES_MOST
        half = len(whole) if fits else len(whole) // 2
        pieces = {name: whole[:half]} if fits else {name: whole[:half], f"{name}_": whole[half:]}
        variables += [f"{each}={piece}" for each, piece in pieces.items()]
        words.append("".join(f"${each}" for each in pieces))
    return variables, " ".join(f'"{word}"' for word in words)


def string_bytes(text: str) -> int:
    """Size of a string in the kernel's argument list. Raises UnicodeEncodeError."""
    return len(text.encode("utf-8", "surrogateescape")) + 1


def too_long(strings: Sequence[str], total_bytes_most: int) -> bool:
    """Whether the kernel refuses to execute a program with these arguments and variables."""
    sizes = [string_bytes(each) for each in strings]
    pointers = POINTER_BYTES * len(sizes)
    return max(sizes, default=0) > STRING_BYTES_MOST or sum(sizes) + pointers > total_bytes_most


def argument_bytes_most(stack_bytes: int) -> int:
    """Limit for arguments and variables, from the soft stack limit (-1 for none)."""
    quarter = ARGUMENT_BYTES_CEILING if stack_bytes < 0 else stack_bytes // 4
    return max(ARGUMENT_BYTES_FLOOR, min(quarter, ARGUMENT_BYTES_CEILING))
