"""Failed credential interpolation in each program: output and exit status, line by line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from lifecycle.buildpack import builder, launcher, shell
from lifecycle.docker import launcher as docker_launcher

pytestmark = pytest.mark.unit

Main = Callable[[list[str]], int]

QUICK = "-credhubRetryDelay=0s"
REFERENCES = '{"p":[{"credentials":{"credhub-ref":"/c/x"}}]}'
NOBODY = "https://127.0.0.1:1"
PROGRAMS: dict[str, tuple[Main, list[str], int, int]] = {
    "docker launcher": (docker_launcher.main, ["launcher", "app", "true", "{}"], 4, 3),
    "launcher": (launcher.main, ["launcher", "app", "true", QUICK], 3, 3),
    "shell": (shell.main, ["shell", "app", "true", QUICK], 1, 1),
    "builder": (builder.main, ["builder", "-buildpackOrder=x", "-buildDir=none", QUICK], 4, 3),
}
"""Program -> entry, arguments, status when interpolation fails, status for malformed platform options."""
BUILDPACK = [name for name in PROGRAMS if name != "docker launcher"]
SET_UP = "Unable to interpolate credhub refs: Unable to set up credhub client: "


class Started(BaseException):
    """The app would run now, with these variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__()
        self.environment = environment


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A good one, and nothing else; a test may take out or change variables before a program starts."""
    (tmp_path / "app").mkdir()
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    monkeypatch.chdir(tmp_path)

    def replace(program: str, arguments: list[str], variables: Mapping[str, str]) -> NoReturn:
        raise Started(variables)

    for module in (docker_launcher, launcher, shell):
        monkeypatch.setattr(module, "replace", replace)
    return {
        "PATH": "/usr/bin:/bin",
        "VCAP_PLATFORM_OPTIONS": f'{{"credhub-uri":"{NOBODY}"}}',
        "VCAP_SERVICES": REFERENCES,
        "CF_INSTANCE_CERT": str(tmp_path / "instance.crt"),
        "CF_INSTANCE_KEY": str(tmp_path / "instance.key"),
        "CF_SYSTEM_CERT_PATH": str(certificates),
    }


@pytest.fixture
def run(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """Status, standard output and error of a program."""

    def start(program: str) -> tuple[int, str, str]:
        with monkeypatch.context() as variables:
            for name in os.environ:
                variables.delenv(name)
            for name, value in environment.items():
                variables.setenv(name, value)
            main, arguments, _, _ = PROGRAMS[program]
            status = main(list(arguments))
        return (status, *capsys.readouterr())

    return start


Run = Callable[[str], tuple[int, str, str]]


@pytest.mark.parametrize("missing", [("CF_INSTANCE_CERT",), ("CF_INSTANCE_KEY",)])
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_identity(program: str, missing: tuple[str, ...], run: Run, environment: dict[str, str]) -> None:
    for name in missing:
        environment[name] = ""
    certificate, key = environment["CF_INSTANCE_CERT"], environment["CF_INSTANCE_KEY"]
    docker = (
        "Unable to load instance identity credentials; "
        f"CF_INSTANCE_CERT: '{certificate}', CF_INSTANCE_KEY: '{key}'\n"
    )
    other = f"{SET_UP}Missing CF_INSTANCE_CERT and/or CF_INSTANCE_KEY"
    text = docker if program == "docker launcher" else other
    assert run(program) == (PROGRAMS[program][2], "", text)


@pytest.mark.parametrize("program", BUILDPACK)
def test_no_certificate_directory(program: str, run: Run, environment: dict[str, str]) -> None:
    del environment["CF_SYSTEM_CERT_PATH"]
    assert run(program) == (PROGRAMS[program][2], "", f"{SET_UP}Missing CF_SYSTEM_CERT_PATH")


@pytest.mark.parametrize("program", BUILDPACK)
def test_an_unreadable_certificate_directory(program: str, run: Run, environment: dict[str, str]) -> None:
    environment["CF_SYSTEM_CERT_PATH"] = "/no/such"
    words = "Can't read contents of system cert path: open /no/such: no such file or directory"
    assert run(program) == (PROGRAMS[program][2], "", f"{SET_UP}{words}")


@pytest.mark.parametrize("directory", ["/no/such", "certificates"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_identity_files_that_are_not_there(
    program: str, directory: str, run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """The docker launcher takes a certificate directory that cannot be read for an empty one."""
    if program != "docker launcher":
        directory = str(tmp_path / "certificates")
    environment["CF_SYSTEM_CERT_PATH"] = directory
    words = f"open {environment['CF_INSTANCE_CERT']}: no such file or directory"
    docker = f"Unable to create a credhub client: {words}\n"
    text = docker if program == "docker launcher" else f"{SET_UP}{words}"
    assert run(program) == (PROGRAMS[program][2], "", text)


@pytest.mark.parametrize(
    "options",
    ["x", "[]", '"x"', '{"credhub-uri":1}', '{"credhub-uri":{}}', '{"credhub-uri":"https://x"} more'],
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_malformed_platform_options(
    program: str, options: str, run: Run, environment: dict[str, str]
) -> None:
    environment["VCAP_PLATFORM_OPTIONS"] = options
    status, out, err = run(program)
    assert (status, out) == (PROGRAMS[program][3], "")
    if program == "docker launcher":
        assert err == "Invalid platform options\n"
    else:
        head, colon, reason = err.partition(": ")
        assert (head, colon) == ("Invalid platform options", ": ")
        assert reason
        assert not err.endswith("\n")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"VCAP_PLATFORM_OPTIONS": ""}, "empty counts as unset"),
        ({"VCAP_PLATFORM_OPTIONS": "null"}, "no members"),
        ({"VCAP_PLATFORM_OPTIONS": '{"credhub-uri":""}'}, "no URI"),
        ({"VCAP_PLATFORM_OPTIONS": '{"credhub-uri":null}'}, "no URI"),
        ({"VCAP_PLATFORM_OPTIONS": '{"other":1}'}, "no URI"),
        ({"VCAP_SERVICES": ""}, "nothing to put in place"),
        ({"VCAP_SERVICES": '{"p":[{"name":"credhub-reference"}]}'}, "the text with quotes does not occur"),
    ],
)
@pytest.mark.parametrize("program", ["docker launcher", "launcher", "shell"])
def test_nobody_is_asked(
    program: str, changes: dict[str, str], why: str, run: Run, environment: dict[str, str]
) -> None:
    environment.update(changes)
    with pytest.raises(Started) as started:
        run(program)
    seen = started.value.environment
    assert seen["VCAP_SERVICES"] == environment["VCAP_SERVICES"], why
    kept = program == "docker launcher"
    assert ("VCAP_PLATFORM_OPTIONS" in seen) == kept, "the buildpack programs remove it"


@pytest.mark.parametrize("value", ["1", "true", "false", " "])
@pytest.mark.parametrize("program", ["launcher", "shell"])
def test_interpolation_may_be_skipped(
    program: str, value: str, run: Run, environment: dict[str, str]
) -> None:
    environment["CREDHUB_SKIP_INTERPOLATION"] = value
    with pytest.raises(Started) as started:
        run(program)
    assert started.value.environment["VCAP_SERVICES"] == REFERENCES


def test_the_docker_launcher_does_not_skip_it(run: Run, environment: dict[str, str]) -> None:
    environment["CREDHUB_SKIP_INTERPOLATION"] = "true"
    status, _, err = run("docker launcher")
    assert (status, err.partition(":")[0]) == (4, "Unable to create a credhub client")


@pytest.mark.parametrize("uri", ["credhub", "/credhub", "//credhub"])
def test_a_uri_without_scheme(uri: str, run: Run, environment: dict[str, str]) -> None:
    environment["VCAP_PLATFORM_OPTIONS"] = f'{{"credhub-uri":"{uri}"}}'
    assert run("docker launcher") == (4, "", f"Invalid CredHub URI: '{uri}'\n")
