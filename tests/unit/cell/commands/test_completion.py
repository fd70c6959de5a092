"""Completion scripts: shells can read them, and bash completes with them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cell.main import main
from cell.registry import COMMANDS

pytestmark = pytest.mark.unit


@pytest.fixture
def bash(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def _completed(script: str, *words: str) -> list[str]:
    line = " ".join(f"'{word}'" for word in words)
    state = f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}"
    run = f'{script}\n{state}\n_cell\necho "${{COMPREPLY[@]}}"'
    return subprocess.run(["bash", "-c", run], check=True, capture_output=True, text=True).stdout.split()


def test_bash_completes_commands_and_options(bash: str) -> None:
    assert _completed(bash, "cell", "") == list(COMMANDS)
    assert _completed(bash, "cell", "expl") == ["explain"]
    assert _completed(bash, "cell", "run", "--dry") == ["--dry-run"]
    assert "--state-dir" in _completed(bash, "cell", "dev", "--")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
