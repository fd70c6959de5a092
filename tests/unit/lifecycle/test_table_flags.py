"""Every flag of every in-container program: name, values, default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from healthcheck import program as healthcheck
from lifecycle.buildpack import builder as buildpack_builder
from lifecycle.buildpack import launcher, shell
from lifecycle.docker import builder as docker_builder
from sshd import preparation as sshd

pytestmark = pytest.mark.unit

Main = Callable[[list[str]], object]

TEXT, NUMBER, TIME, CHECKED, BOOLEAN = "string", "int", "duration", "value", ""
CREDHUB = {"credhubConnectAttempts": (NUMBER, "3"), "credhubRetryDelay": (TIME, "1s")}
HEALTHCHECK = {
    "network": (TEXT, '"tcp"'),
    "uri": (TEXT, ""),
    "port": (TEXT, '"8080"'),
    "timeout": (TIME, "1s"),
    "startup-interval": (TIME, ""),
    "startup-timeout": (TIME, "1m0s"),
    "liveness-interval": (TIME, ""),
    "readiness-interval": (TIME, ""),
    "until-ready-interval": (TIME, ""),
}
SSHD = {
    "address": (TEXT, '"127.0.0.1:2222"'),
    "hostKey": (TEXT, ""),
    "authorizedKey": (TEXT, ""),
    "allowUnauthenticatedClients": (BOOLEAN, ""),
    "inheritDaemonEnv": (BOOLEAN, ""),
    "allowedCiphers": (TEXT, ""),
    "allowedMACs": (TEXT, ""),
    "allowedKeyExchanges": (TEXT, ""),
    "allowedHostKeyAlgorithms": (TEXT, ""),
    "debugAddr": (TEXT, ""),
    "logLevel": (TEXT, '"info"'),
    "redactSecrets": (BOOLEAN, ""),
    "redactPatterns": (TEXT, ""),
    "timeFormat": (CHECKED, ""),
}
DOCKER_BUILDER = {
    "dockerRef": (TEXT, ""),
    "outputMetadataJSONFilename": (TEXT, '"/tmp/result/result.json"'),
    "insecureDockerRegistries": (CHECKED, ""),
    "dockerUser": (TEXT, ""),
    "dockerPassword": (TEXT, ""),
    "dockerEmail": (TEXT, ""),
    "dockerLoginServer": (TEXT, '"https://index.docker.io/v1/"'),
    "cacheDockerImage": (BOOLEAN, ""),
    "dockerDaemonExecutablePath": (TEXT, ""),
    "dockerDaemonUnixSocket": (TEXT, ""),
    "dockerRegistryHost": (TEXT, ""),
    "dockerRegistryPort": (NUMBER, "8080"),
    "dockerRegistryIPs": (CHECKED, ""),
    "dockerRegistryRequireTLS": (BOOLEAN, ""),
}
BUILDPACK_BUILDER = {
    "buildDir": (TEXT, '"/tmp/app"'),
    "outputDroplet": (TEXT, '"/tmp/droplet"'),
    "outputMetadata": (TEXT, '"/tmp/result.json"'),
    "outputBuildArtifactsCache": (TEXT, '"/tmp/output-cache"'),
    "buildpacksDir": (TEXT, '"/tmp/buildpacks"'),
    "buildpacksDownloadDir": (TEXT, '"/tmp/buildpackdownloads"'),
    "buildArtifactsCacheDir": (TEXT, '"/tmp/cache"'),
    "buildpackOrder": (TEXT, ""),
    "skipDetect": (BOOLEAN, ""),
    "skipCertVerify": (BOOLEAN, ""),
    **CREDHUB,
}
PROGRAMS: dict[str, tuple[Main, list[str], str, dict[str, tuple[str, str]]]] = {
    "healthcheck": (healthcheck.main, [], "/x/healthcheck", HEALTHCHECK),
    "diego-sshd": (sshd.prepare, [], "/x/diego-sshd", SSHD),
    "docker builder": (docker_builder.main, [], "builder", DOCKER_BUILDER),
    "buildpack builder": (buildpack_builder.main, [], "builder", BUILDPACK_BUILDER),
    "launcher": (launcher.main, ["app", "true"], "launcher", CREDHUB),
    "shell": (shell.main, [".", "true"], "shell", CREDHUB),
}
"""Program -> its entry, what stands before flags, its name in ``Usage of``, flag -> (kind, default)."""

FLAGS = [
    pytest.param(program, flag, id=f"{program} -{flag}")
    for program, (*_, flags) in PROGRAMS.items()
    for flag in flags
]
WRONG = {BOOLEAN: "yes", NUMBER: "1x", TIME: "5"}
"""Kind -> what it does not take."""


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of where the tests run plays a part."""
    monkeypatch.chdir(tmp_path)
    for variable in ("VCAP_PLATFORM_OPTIONS", "VCAP_SERVICES", "SSHD_HOSTKEY", "SSHD_AUTHKEY"):
        monkeypatch.delenv(variable, raising=False)


def status(program: str, *flags: str) -> object:
    """The exit status of a program."""
    main, before, _, _ = PROGRAMS[program]
    return main([f"/x/{program.rpartition(' ')[2]}", *before, *flags])


@pytest.mark.parametrize("help_flag", ["-h", "-help", "--help"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_usage_has_all_flags_with_kind_and_default(
    program: str, help_flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, name, flags = PROGRAMS[program]
    assert status(program, help_flag) == 0
    out, err = capsys.readouterr()
    first, *lines = err.splitlines()
    assert (out, first) == ("", f"Usage of {name}:")
    entries = [line.strip().split(" ") for line in lines[::2]]
    texts = lines[1::2]
    found = {}
    for (flag, *kind), text in zip(entries, texts, strict=True):
        default = text.rpartition(" (default ")[2].removesuffix(")") if " (default " in text else ""
        found[flag.removeprefix("-")] = (kind[0] if kind else "", default)
    assert found == flags
    assert [entry[0] for entry in entries] == sorted(entry[0] for entry in entries)


@pytest.mark.parametrize(("program", "flag"), FLAGS)
def test_a_flag_without_value(program: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing at the end for those that need one, and empty for all that do not take it."""
    kind, _ = PROGRAMS[program][3][flag]
    if kind != BOOLEAN:
        assert status(program, f"-{flag}") == 2
        assert capsys.readouterr().err.startswith(f"flag needs an argument: -{flag}\nUsage of ")
    if kind in WRONG:
        assert status(program, f"-{flag}=") == 2
        assert capsys.readouterr().err.splitlines()[0] == refusal(kind, flag, "")


@pytest.mark.parametrize(
    ("program", "flag"),
    [each for each in FLAGS if PROGRAMS[str(each.values[0])][3][str(each.values[1])][0] in WRONG],
)
def test_a_value_of_the_wrong_kind(program: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, _ = PROGRAMS[program][3][flag]
    assert status(program, f"--{flag}={WRONG[kind]}") == 2
    out, err = capsys.readouterr()
    first, usage, *_ = err.splitlines()
    assert (out, first) == ("", refusal(kind, flag, WRONG[kind]))
    assert usage == f"Usage of {PROGRAMS[program][2]}:"


def refusal(kind: str, flag: str, value: str) -> str:
    if kind == BOOLEAN:
        return f'invalid boolean value "{value}" for -{flag}: parse error'
    return f'invalid value "{value}" for flag -{flag}: parse error'


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_flag_that_nobody_knows(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(program, "--nobody=1") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"flag provided but not defined: -nobody\nUsage of {PROGRAMS[program][2]}:\n")


@pytest.mark.parametrize(
    "program", [name for name in PROGRAMS if CREDHUB.items() <= PROGRAMS[name][3].items()]
)
def test_attempts_beyond_all_numbers(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    huge = "99999999999999999999"
    assert status(program, f"-credhubConnectAttempts={huge}") == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f'invalid value "{huge}" for flag -credhubConnectAttempts: value out of range'
