"""Passwords of registries: never in arguments of our programs or of the container's."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from bbs.models.actions import RunAction
from cell.apps import choices
from cell.apps.choices import Choices, Credentials, credentials
from cell.apps.recipes import classic, staging
from cell.apps.recipes.values import App, DockerStaging, Staging
from cell.client.target import BadArguments
from cell.main import main
from lifecycle.docker import builder as docker_builder
from lifecycle.docker.registry import RegistryError

pytestmark = pytest.mark.unit

SECRET = "s3cret"


def parsed(*words: str) -> Choices:
    """The options of a push."""

    @click.command
    @choices.options
    def command(choices: Choices) -> Choices:
        return choices

    parsed: Choices = command.main(["--docker-image", "team/web", *words], standalone_mode=False)
    return parsed


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choices.PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))


def test_no_password_can_be_given_as_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    """--docker-password, in whatever spelling, is refused."""
    for words in (("--docker-password", SECRET), (f"--docker-password={SECRET}",), ("--docker-pass", SECRET)):
        assert main(["push", "--docker-image", "team/web", "--docker-username", "u", *words]) == 3
        assert "No such option" in capsys.readouterr().err


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choices.PASSWORD_VARIABLE, SECRET)
    assert credentials(parsed("--docker-username", "u")) == Credentials("u", SECRET)
    assert credentials(parsed()) == Credentials()


def test_from_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    wanted = Credentials("u", SECRET)
    assert credentials(parsed("--docker-username", "u", "--password-file", str(file))) == wanted
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\r\nmore"))
    assert credentials(parsed("--docker-username", "u", "--password-file", "-")) == wanted


def test_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET if prompt == "Password of u: " else "")
    assert credentials(parsed("--docker-username", "u")) == Credentials("u", SECRET)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--docker-username", "u"], "the password of u is missing: set CF_DOCKER_PASSWORD"),
        (["--docker-username", "u", "--password-file", "/no/such"], "/no/such cannot be read: No such file"),
        (
            ["--docker-username", "u", "--password-file", "/bin/true"],
            "/bin/true cannot be read: it is not UTF-8",
        ),
        (["--password-file", "/no/such"], "--password-file goes with --docker-username"),
    ],
)
def test_a_password_that_is_nowhere(words: list[str], text: str) -> None:
    with pytest.raises(BadArguments, match=text):
        credentials(parsed(*words))


def test_it_is_in_no_representation() -> None:
    assert SECRET not in repr(Credentials("u", SECRET))
    assert SECRET not in repr(DockerStaging(image="a/b", username="u", password=SECRET))


def run_actions(value: Any) -> list[RunAction]:
    """Every Run of an action tree."""
    if isinstance(value, RunAction):
        return [value]
    inner = [*getattr(value, "actions", ()), *([value.action] if hasattr(value, "action") else [])]
    return [found for each in inner for found in run_actions(each)]


@pytest.mark.parametrize("recipe", [staging.docker_staging, classic.docker_staging])
@pytest.mark.parametrize("hidden", [True, False])
def test_the_builder_gets_it_in_its_environment(recipe: Callable[..., Any], hidden: bool) -> None:
    """`cell push` hides the password from the container's process list; a Cloud Controller's form has it."""
    work = Staging(guid="g", app=App(guid="g", name="web"), stack="cellfs", lifecycle_url="http://x/l.tgz")
    what = DockerStaging(image="a/b", username="u", password=SECRET, password_in_environment=hidden)
    (run,) = run_actions(recipe(work, what).action)
    assert ("u" in " ".join(run.args), SECRET in " ".join(run.args)) == (True, not hidden)
    variables = {variable.name: variable.value for variable in run.env}
    assert variables.get(docker_builder.PASSWORD_VARIABLE) == (SECRET if hidden else None)


def test_the_builder_takes_it_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument has precedence, because a Cloud Controller sends one."""
    monkeypatch.setenv(docker_builder.PASSWORD_VARIABLE, SECRET)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    seen: list[str] = []

    def fetched(registry: Any) -> Any:
        seen.append(registry._credentials.password)
        raise RegistryError("enough")

    monkeypatch.setattr(docker_builder, "_fetch", fetched)
    try:
        for flags in (["-dockerUser=u"], ["-dockerUser=u", "-dockerPassword=given"]):
            assert docker_builder.main(["builder", "-dockerRef=team/web", *flags]) == docker_builder.FAILED
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert seen == [SECRET, "given"]
