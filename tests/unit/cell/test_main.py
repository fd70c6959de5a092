"""The command line as a whole."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from cell.registry import COMMANDS

if TYPE_CHECKING:
    from tests.unit.cell.conftest import Shell

pytestmark = pytest.mark.unit


def test_help_names_every_command(shell: Shell) -> None:
    ended = shell("--help")
    assert ended.status == 0
    assert all(f"  {name} " in ended.stdout for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["rep", "--nonsense"]])
def test_what_nobody_understands(arguments: list[str], shell: Shell) -> None:
    ended = shell(*arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, shell: Shell) -> None:
    module = importlib.import_module(COMMANDS[name].module)
    ended = shell(name, "--help")
    assert ended.status == 0
    assert module.__doc__
    assert module.__doc__.splitlines()[0] in ended.stdout
