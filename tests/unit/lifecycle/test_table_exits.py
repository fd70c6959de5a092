"""Failed starts of the app by launchers and shell, line by line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from lifecycle.buildpack import launcher, shell
from lifecycle.docker import launcher as docker_launcher

pytestmark = pytest.mark.unit

Main = Callable[[list[str]], int]

PROGRAMS: dict[str, tuple[Main, list[str]]] = {
    "docker launcher": (docker_launcher.main, ["/x/launcher", "app", "true", "{}"]),
    "launcher": (launcher.main, ["/x/launcher", "app", "true", "{}"]),
    "shell": (shell.main, ["/x/shell", "app", "true"]),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path)
    for variable in ("VCAP_PLATFORM_OPTIONS", "VCAP_SERVICES", "VCAP_APPLICATION", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("program", "number", "status", "text"),
    [
        ("docker launcher", errno.ENOENT, 1, "Failed to run: no such file or directory\n"),
        ("docker launcher", errno.ENOEXEC, 1, "Failed to run: exec format error\n"),
        ("launcher", errno.ENOENT, 4, "no such file or directory"),
        ("launcher", errno.EACCES, 4, "permission denied"),
        ("shell", errno.ENOENT, 1, "no such file or directory"),
    ],
)
def test_what_cannot_be_executed(
    program: str,
    number: int,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def replace(path: str, arguments: list[str], environment: Mapping[str, str]) -> NoReturn:
        raise OSError(number, os.strerror(number), path)

    for module in (docker_launcher, launcher, shell):
        monkeypatch.setattr(module, "replace", replace)
    main, arguments = PROGRAMS[program]
    assert main(arguments) == status
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("count", range(3))
@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("docker launcher", "Usage: /x/launcher <ignored> <start command> <metadata>\n"),
        (
            "launcher",
            "/x/launcher: received only {count} arguments\n"
            "Usage: /x/launcher <app-directory> <start-command> <metadata>",
        ),
    ],
)
def test_too_few_arguments(program: str, text: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    main, arguments = PROGRAMS[program]
    assert main(arguments[: count + 1]) == 1
    assert capsys.readouterr() == ("", text.format(count=count))


@pytest.mark.parametrize(
    ("program", "arguments", "status", "text"),
    [
        ("docker launcher", ["app", "", "{}"], 1, "No start command found or specified\n"),
        (
            "docker launcher", ["app", "true", '{"workdir":"/no"}'], 1,
            "Couldn't change directories to /no: chdir /no: no such file or directory\n",
        ),
        ("docker launcher", ["app", "true", ""], 1, "Invalid metadata - unexpected end of JSON input\n"),
        ("launcher", ["app", "", "{}"], 1, "/x/launcher: no start command specified or detected in droplet"),
        ("shell", ["none"], 1, "Provided app direcory does not exist"),
        ("shell", [""], 1, "Provided app direcory does not exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_arguments(
    program: str, arguments: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main, (name, *_) = PROGRAMS[program]
    assert main([name, *arguments]) == status
    assert capsys.readouterr() == ("", text)


def test_a_shell_that_cannot_tell_where_the_app_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "app").rmdir()
    assert shell.main(["shell"]) == 1
    assert capsys.readouterr() == ("", "Could not infer app directory, please provide one")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Invalid staging info - failed to unmarshal staging_info.yml: "),
        ("start_command: [1]", "Invalid staging info - failed to unmarshal staging_info.yml: "),
        (None, "Invalid staging info - read staging_info.yml: is a directory"),
    ],
)
@pytest.mark.parametrize("command", ["", "true"])
def test_staging_info_is_read_in_any_case(
    content: str | None, reason: str, command: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = place / "staging_info.yml"
    if content is None:
        info.mkdir()
    else:
        info.write_text(content)
    assert launcher.main(["launcher", "app", command, "{}"]) == 1
    out, err = capsys.readouterr()
    assert (out, err[: len(reason)]) == ("", reason)
    assert not err.endswith("\n")
