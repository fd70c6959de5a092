"""The screen of `cell run` on a terminal of 80 columns and 24 lines."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from docker import APIClient

pytestmark = pytest.mark.docker

TIMEOUT_S = 60.0


class Terminal:
    """A terminal in tmux, without a viewer."""

    def __init__(self, name: str) -> None:
        self._name = name

    def tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self._name, *words], check=True, capture_output=True, text=True)
        return done.stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self, *, colours: bool = False) -> str:
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    async def until(self, holds: Callable[[str], bool]) -> list[str]:
        """Wait for a screen; answers its lines."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            screen = self.screen()
            if holds(screen):
                return screen.splitlines()
            await asyncio.sleep(0.05)
        pytest.fail(f"after {TIMEOUT_S:g} s the screen is still:\n{screen}")


@pytest.fixture
async def terminal(docker_client: APIClient, tmp_path: Path) -> AsyncIterator[Terminal]:
    name = f"cell-test-{secrets.token_hex(4)}"
    held = Terminal(name)
    held.tmux("-f", os.devnull, "new-session", "-d", "-x", "80", "-y", "24", "PS1='$ ' sh")
    yield held
    held.tmux("kill-server")


def _command(tmp_path: Path, tree: object, *options: str, variables: str = "") -> str:
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(tree))
    cell = f"{sys.executable} -m cell run {path} --image busybox --state-dir {tmp_path}"
    path_here = os.environ.get("PYTHONPATH", "")
    return " ".join([f"clear; {variables} PYTHONPATH={path_here} {cell}", *options, "; echo code $?"])


def _run(script: str, **more: object) -> dict[str, object]:
    return {"run": {"path": "/bin/sh", "args": ["-c", script], "user": "vcap", **more}}


async def test_a_tree_that_moves_and_the_log_below_it(terminal: Terminal, tmp_path: Path) -> None:
    steps = [
        _run("echo first step"),
        _run(
            "for i in $(seq 1 40); do echo line $i; done; echo go; while [ ! -e /tmp/x ]; do sleep 0.1; done"
        ),
        {"try": {"action": _run("exit 9")}},
    ]
    tree = {
        "codependent": {"actions": [{"serial": {"actions": steps}}, _run("sleep 2; touch /tmp/x; sleep 60")]}
    }
    terminal.type(_command(tmp_path, tree), "Enter")

    lines = await terminal.until(lambda screen: "line 40" in screen and "✓ run" in screen)
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("action  ")
    kinds = ["codependent", "serial", "run", "run", "try", "run", "run"]
    assert all(kind in line for kind, line in zip(kinds, lines[1:8], strict=True)), lines
    marks = [line.split()[0] for line in lines[1:8]]
    assert marks == ["▶", "▶", "✓", "▶", "·", "·", "▶"]
    assert set(lines[8]) == {"─"}
    assert "[APP] line 40" in lines[9:]

    lines = await terminal.until(lambda screen: "code 1" in screen)
    assert all(len(line) <= 80 for line in lines)
    told = "".join(lines[-6:])
    assert "cell run: Codependent step exited (step action/codependent, container run-" in told
    assert "[APP] Exit status 9" in lines


async def test_ctrl_c_leaves_a_terminal_as_it_was(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(_command(tmp_path, _run("echo ready; exec sleep 60")), "Enter")
    await terminal.until(lambda screen: "[APP] ready" in screen)
    terminal.type("C-c")
    lines = await terminal.until(lambda screen: "code 130" in screen)
    assert sum("interrupted in" in line for line in lines) == 1
    assert not any("^C" in line for line in lines)
    terminal.type("echo still", "Space", "here", "Enter")
    await terminal.until(lambda screen: "echo still here" in screen and "\nstill here" in screen)


async def test_no_colours_when_they_are_not_wanted(terminal: Terminal, tmp_path: Path) -> None:
    for variables, wanted in (("", True), ("NO_COLOR=1", False)):
        terminal.type(_command(tmp_path, _run("exit 1"), variables=variables), "Enter")
        await terminal.until(lambda screen: "code 1" in screen)
        assert ("\x1b[31m" in terminal.screen(colours=True)) is wanted
        terminal.type("clear", "Enter")
        await terminal.until(lambda screen: "code 1" not in screen)


async def test_a_shell_in_the_container_of_a_failed_run(terminal: Terminal, tmp_path: Path) -> None:
    tree = _run("echo evidence > /tmp/found; exit 1", env=[{"name": "HINT", "value": "look-here"}])
    terminal.type(_command(tmp_path, tree, "--shell-on-failure"), "Enter")
    await terminal.until(lambda screen: "this is a shell in the container" in screen.replace("\n", ""))
    terminal.type("cat /tmp/found; id -un; echo $HINT; exit", "Enter")
    lines = await terminal.until(lambda screen: "code 1" in screen)
    assert {"evidence", "vcap", "look-here"} <= set(lines)
