"""The command line as a whole."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cell.registry import COMMANDS, module_of
from tests.support.paths import REPOSITORY

if TYPE_CHECKING:
    from tests.unit.cell.conftest import Shell

pytestmark = pytest.mark.unit


def test_help_names_every_command(shell: Shell) -> None:
    ended = shell("--help")
    assert ended.status == 0
    assert all(f"  {name} " in ended.stdout for name in COMMANDS)


def test_the_version_is_that_of_the_project(shell: Shell) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ended = shell("--version")
    assert (ended.status, ended.stdout) == (0, f"cell {project['version']}\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["rep", "--nonsense"]])
def test_what_nobody_understands(arguments: list[str], shell: Shell) -> None:
    ended = shell(*arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, shell: Shell) -> None:
    module = importlib.import_module(module_of(name))
    ended = shell(name, "--help")
    assert ended.status == 0
    assert module.__doc__
    assert inspect.cleandoc(module.__doc__) in ended.stdout


@pytest.mark.parametrize("name", ["dev", "demo", "network"])
def test_a_command_of_root(name: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ended = shell(name)
    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"cell {name}: must be root: ")


def test_options_that_exclude_each_other(shell: Shell) -> None:
    ended = shell("run", "tree.json", "--image", "busybox", "--rootfs", "/")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.endswith("cell run: error: argument --rootfs: not allowed with argument --image\n")


HEAVY = {"aiohttp", "asyncssh", "cryptography", "docker", "google.protobuf", "grpc", "pyroute2", "rich"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["nonsense"], set()),
        (["completion", "bash"], set()),
        (["dev", "--help"], set()),
        (["rep", "--help"], {"cryptography"}),
        (["run", "--help"], set()),
        (["rep", "--check-config", "rep.json"], {"cryptography"}),
        (["lrps", "--bbs-url", "http://127.0.0.1:1"], {"google.protobuf"}),
        (["events", "--bbs-url", "http://127.0.0.1:1"], {"google.protobuf"}),
    ],
)
def test_a_command_imports_only_libraries_that_it_uses(
    arguments: list[str], allowed: set[str], tmp_path: Path
) -> None:
    """Each of them takes longer to import than the command runs."""
    (tmp_path / "rep.json").write_text("{}")
    script = (
        "import sys; from cell.main import main; main(sys.argv[1:])\n"
        f"sys.exit('imported: ' + ' '.join({HEAVY} & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = ended.stderr.splitlines()
    assert set(last.removeprefix("imported: ").split()) <= allowed
