"""Completion of commands, options, files and names of a BBS, in real shells."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from bbs.wire import routes
from bbs.wire.proto.cell_pb2 import CellPresence, CellsResponse
from bbs.wire.proto.desired_lrp_pb2 import DesiredLRP
from bbs.wire.proto.desired_lrp_requests_pb2 import DesiredLRPsResponse
from bbs.wire.proto.domain_pb2 import DomainsResponse
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.proto.task_pb2 import Task
from bbs.wire.proto.task_requests_pb2 import TasksResponse
from cell.development.endpoints import published
from cell.main import main
from cell.registry import COMMANDS, commands

if TYPE_CHECKING:
    from tests.unit.cell.conftest import ScriptedBBS

pytestmark = pytest.mark.unit

PROGRAMS = Path(sys.executable).parent
TIMEOUT_S = 60
GUID = "0a1b-version-1"


def answer(bbs: ScriptedBBS) -> None:
    """A BBS with one pushed app, three other LRPs, a Task, a cell and two domains."""
    from tests.unit.cell.conftest import Answer

    app = DesiredLRP(process_guid=GUID, domain="cf-apps")
    variable = app.action.run_action.env.add()
    variable.name, variable.value = "VCAP_APPLICATION", b'{"application_name": "shop"}'
    strange = [DesiredLRP(process_guid=guid) for guid in ("web", "a b", "$(reboot)")]
    answers = {
        routes.DESIRED_LRPS: DesiredLRPsResponse(desired_lrps=[app, *strange]),
        routes.TASKS: TasksResponse(tasks=[Task(task_guid="build-17")]),
        routes.CELLS: CellsResponse(cells=[CellPresence(cell_id="cell-1")]),
        routes.DOMAINS: DomainsResponse(domains=["cf-apps", "d"]),
    }
    for route, message in answers.items():
        bbs.by_path[route.path] = Answer(message.SerializeToString())


def suggestions(*words: str) -> list[str]:
    """Values for the last word."""
    *earlier, incomplete = words
    complete = ShellComplete(commands, {}, "cell", "_CELL_COMPLETE")
    return [item.value for item in complete.get_completions(earlier, incomplete)]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["lrps", ""], [GUID, "web"]),
        (["lrps", "-d", ""], ["cf-apps", "d"]),
        (["lrps", "--cell", ""], ["cell-1"]),
        (["tasks", ""], ["build-17"]),
        (["cells", ""], ["cell-1"]),
        (["domains", "--set", "c"], ["cf-apps"]),
        (["events", "-c", ""], ["cell-1"]),
        (["scale", ""], [GUID, "web"]),
        (["scale", "w"], ["web"]),
        (["stop", ""], [GUID, "web"]),
        (["stop", "--task", ""], ["build-17"]),
        (["delete", ""], [GUID, "web"]),
        (["delete", "--task", ""], ["build-17"]),
        (["logs", "sh"], ["shop"]),
        (["ssh", "sh"], ["shop"]),
        (["push", "--name", "sh"], ["shop"]),
        (["push", "-u", ""], ["port", "http", "process"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_values(
    words: list[str], values: list[str], bbs: ScriptedBBS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that a shell would take for more than a word are left out."""
    answer(bbs)
    monkeypatch.setenv("BBS_URL", bbs.url)
    assert suggestions(*words) == values


@pytest.mark.parametrize("command", ["scale", "delete"])
def test_a_cell_dev_knows_apps_by_name(command: str, bbs: ScriptedBBS, tmp_path: Path) -> None:
    """Another BBS takes only the GUID."""
    answer(bbs)
    endpoints = {"bbs": bbs.url, "locket": "127.0.0.1:1", "file_server": "http://127.0.0.1:1", "cells": []}
    with published(tmp_path, endpoints):
        assert suggestions(command, "--state-dir", str(tmp_path), "") == [GUID, "shop", "web"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_every_command(name: str) -> None:
    assert "--help" in suggestions(name, "--")


@pytest.fixture
def completed(tmp_path: Path, bbs: ScriptedBBS) -> Callable[[str, str], str]:
    """``completed(shell, line)`` is the line after a Tab, in a folder with a file and a folder."""
    answer(bbs)
    (tmp_path / "trace.json").write_text("{}")
    (tmp_path / "state").mkdir()
    environment = {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TERM": "vt100",
        "BBS_URL": bbs.url,
    }

    def complete(shell: str, line: str) -> str:
        if shutil.which(shell) is None:
            pytest.skip(f"there is no {shell}")
        how = _completed_by_fish if shell == "fish" else _completed_at_terminal
        return how(shell, line, tmp_path, environment)

    return complete


def _completed_by_fish(shell: str, line: str, folder: Path, environment: Mapping[str, str]) -> str:
    script = "cell completion fish | source; complete --do-complete=$argv[1]"
    ended = subprocess.run(
        [shell, "--no-config", "-c", script, line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    (candidate,) = [text.partition("\t")[0] for text in ended.stdout.splitlines()]
    return f"{line.rpartition(' ')[0]} {candidate}"


STARTS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -D -u;"),
}


def _completed_at_terminal(shell: str, line: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Types the line and Tab, goes to its beginning (Ctrl-A) and makes it the argument of an echo."""
    arguments, start = STARTS[shell]
    with ExitStack() as stack:
        keyboard, terminal = pty.openpty()
        stack.callback(os.close, keyboard)
        try:
            process = stack.enter_context(
                subprocess.Popen(
                    ["setsid", "--ctty", *arguments],
                    cwd=folder,
                    env=environment,
                    stdin=terminal,
                    stdout=terminal,
                    stderr=terminal,
                )
            )
        finally:
            os.close(terminal)
        stack.callback(process.kill)
        os.write(keyboard, f'{start} eval "$(cell completion {shell})"; echo rea""dy\n'.encode())
        _read_until(keyboard, r"ready")
        os.write(keyboard, f"{line}\t\x01echo li''ne=\n".encode())
        found = _read_until(keyboard, r"line=(.*?)\s*[\r\n]")
        os.write(keyboard, b"exit\n")
        return found[1]


def _read_until(keyboard: int, pattern: str) -> re.Match[str]:
    output = ""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        output += os.read(keyboard, 4096).decode(errors="replace")
        if found := re.search(pattern, output):
            return found
    raise AssertionError(f"no {pattern} in {output!r}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cell comp", "cell completion"),
        ("cell run --dry", "cell run --dry-run"),
        ("cell completion z", "cell completion zsh"),
        ("cell logs sh", "cell logs shop"),
        ("cell explain tra", "cell explain trace.json"),
        ("cell dev --state-dir sta", "cell dev --state-dir state"),
    ],
)
def test_real_shells(shell: str, line: str, expected: str, completed: Callable[[str, str], str]) -> None:
    assert completed(shell, line).removesuffix("/") == expected


def test_bash_knows_a_url_of_the_line(bbs: ScriptedBBS, completed: Callable[[str, str], str]) -> None:
    """Bash splits a URL into several words."""
    line = f"cell logs --bbs-url {bbs.url}"
    bbs.url = "http://127.0.0.1:1"
    assert completed("bash", f"{line} sh") == f"{line} shop"


class TestSilence:
    """No message at the prompt if there are no names."""

    @staticmethod
    def complete(line: str, **environment: str) -> tuple[str, str]:
        ended = subprocess.run(
            [PROGRAMS / "cell"],
            env={
                "_CELL_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "PATH": os.environ["PATH"],
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        return ended.stdout.strip(), ended.stderr

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "https://127.0.0.1:1", ""])
    def test_no_bbs(self, url: str, tmp_path: Path) -> None:
        assert self.complete(f"cell logs --state-dir {tmp_path} ", BBS_URL=url) == ("", "")
        assert self.complete("cell logs ", BBS_URL=url, LOCKET_API_LOCATION="127.0.0.1:1") == ("", "")

    def test_an_error_of_the_bbs(self, bbs: ScriptedBBS) -> None:
        bbs.answer(DomainsResponse(error=Error(type="Deadlock", message="again")))
        assert self.complete("cell domains --set ", BBS_URL=bbs.url) == ("", "")

    def test_a_body_that_is_no_message(self, bbs: ScriptedBBS) -> None:
        bbs.answer(b"\xff")
        assert self.complete("cell domains --set ", BBS_URL=bbs.url) == ("", "")

    def test_a_slow_bbs(self, bbs: ScriptedBBS) -> None:
        """The BBS answers after ten seconds; the prompt does not wait for it."""
        bbs.hold(routes.DOMAINS.path, b"")
        began = time.monotonic()
        assert self.complete("cell domains --set ", BBS_URL=bbs.url) == ("", "")
        assert time.monotonic() - began < 10

    def test_a_command_that_does_not_exist(self) -> None:
        for line in ("cell nonsense --", "cell lrps --nonsense ", "cell --nonsense lrps "):
            assert self.complete(line)[1] == ""


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
