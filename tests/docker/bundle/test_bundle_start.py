"""Start of the bundle's programs: by name, from any place, with an unchanged environment for children."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

VARIABLES = {
    "LD_PRELOAD": "/nowhere/libodd.so",
    "LD_LIBRARY_PATH": "/nowhere",
    "LD_DEBUG": "libs",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "PYTHONPATH": "/nowhere",
    "PYTHONHOME": "/nowhere",
    "PYTHONSTARTUP": "/nowhere",
    "LANG": "C",
    "LC_ALL": "xx_XX.UTF-8",
    "LC_CTYPE": "POSIX",
    "OPENSSL_CONF": "/nowhere/openssl.cnf",
    "SSL_CERT_FILE": "/nowhere",
    ":odd": "=a=b\tc",
    "EMPTY": "",
    "TEXT": "gr\u00fc\u00dfe",
}
"""What would lead a loader, an interpreter or a TLS library astray, if it saw it."""


@pytest.mark.parametrize("root", ["musl", "static"])
def test_what_is_started_sees_the_environment_as_it_was(
    root: str, box: Callable[..., Any], image_of: Callable[[str], str], bundle: Path
) -> None:
    variables = dict(VARIABLES)
    if root == "musl":  # its loader, which the app needs, would rightly fail on this one
        del variables["LD_PRELOAD"]
    given = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
    metadata = '{"entrypoint":["/app","x y"],"cmd":["z"]}'
    launcher = box(
        image_of(root), ["/lifecycle/docker/launcher", "app", "", metadata], {bundle: "/lifecycle"}, given
    )
    out, err = launcher.process.communicate()
    assert (launcher.process.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["argument /app", "argument x y", "argument z"]
    seen = dict(line.removeprefix("variable ").split("=", 1) for line in lines[3:])
    of_the_engine = {"PATH", "HOSTNAME", "HOME"}
    assert {name: value for name, value in seen.items() if name not in of_the_engine} == variables
    assert seen.keys() >= of_the_engine


def test_a_check_is_not_led_astray(
    box: Callable[..., Any], image_of: Callable[[str], str], bundle: Path
) -> None:
    given = [part for name, value in VARIABLES.items() for part in ("-e", f"{name}={value}")]
    command = ["/lifecycle/healthcheck", "-port=8080"]
    check = box(image_of("static"), command, {bundle: "/lifecycle"}, given)
    assert check.process.communicate() == ("", "failure to find suitable interface\n")
    assert check.process.returncode == 3


def test_all_names_are_one_file_per_lifecycle(bundle: Path) -> None:
    names = {"healthcheck", "launcher", "shell", "builder", "diego-sshd"}
    assert {path.name for path in bundle.iterdir()} == names | {"docker", "lib"}
    assert {path.name for path in (bundle / "docker").iterdir()} == names - {"shell"}
    for folder, count in ((bundle, 5), (bundle / "docker", 4)):
        stats = [(folder / name).stat() for name in names if (folder / name).exists()]
        assert {stat.st_nlink for stat in stats} == {count}
        assert stats[0].st_size < 10_000


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that may be tampered with."""
    place = tmp_path / "a place of its own"
    shutil.copytree(bundle, place)
    return place


def _run(*command: str | Path, **options: Any) -> tuple[int, str, str]:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr.splitlines()[0] if done.stderr else ""


def test_works_from_any_place_and_under_any_name_given(copy: Path) -> None:
    unknown = "flag provided but not defined: -x"
    assert _run(copy / "healthcheck", "-x") == (2, "", unknown)
    assert _run("./healthcheck", "-x", cwd=copy) == (2, "", unknown)
    assert _run("anything", "-x", executable=copy / "healthcheck") == (2, "", unknown)
    link = copy.parent / "check"
    link.symlink_to(copy / "healthcheck")
    assert _run(link, "-x") == (2, "", unknown)
    assert _run(copy / "docker/builder", "-x")[2] == unknown


def test_works_without_proc_and_without_arguments(copy: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing the root takes root")
    inside = f"/{copy.name}"
    assert _run("chroot", copy.parent, f"{inside}/healthcheck", "-x")[0] == 2
    assert _run("chroot", copy.parent, f"{inside}/docker/launcher")[0] == 1


def test_an_unknown_name_is_told(copy: Path) -> None:
    (copy / "healthcheck").rename(copy / "chekc")
    status, out, err = _run(copy / "chekc")
    assert (status, out) == (126, "")
    assert err.startswith("chekc: no such program; a link to it must have one of the names builder, ")


def test_a_program_away_from_its_library_is_told(copy: Path) -> None:
    alone = copy.parent / "alone" / "deep" / "healthcheck"
    alone.parent.mkdir(parents=True)
    shutil.copy(copy / "healthcheck", alone)
    words = f"{alone}: cannot start: lib/ld.so of its bundle is neither beside it nor one directory up"
    assert _run(alone) == (126, "", words)


def test_a_loader_that_cannot_be_executed_is_told(copy: Path) -> None:
    (copy / "lib/ld.so").write_text("nothing to execute")
    status, _, err = _run(copy / "healthcheck")
    assert status == 126
    assert err.endswith("cannot start: its loader could not be executed")


def test_bytes_that_are_no_text_come_through(copy: Path) -> None:
    odd = b"\xff\xfe"
    done = subprocess.run(
        [copy / "docker/launcher", "app", b"echo " + odd, "{}"], capture_output=True, check=True
    )
    assert done.stdout == odd + b"\n"
    refused = subprocess.run([copy / "healthcheck", b"-" + odd], capture_output=True, check=False)
    assert refused.stderr.startswith(b"flag provided but not defined: -" + odd + b"\n")


def test_closed_streams_are_no_trouble(copy: Path) -> None:
    script = 'exec "$0" -bogus <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", script, copy / "healthcheck"], check=False).returncode == 2


@pytest.mark.parametrize(("number", "reason"), [("TERM", "terminated"), ("INT", "interrupt")])
def test_a_signal_ends_the_docker_builder_with_its_name(copy: Path, number: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as registry:
        host = f"127.0.0.1:{registry.getsockname()[1]}"
        command = [copy / "docker/builder", f"-dockerRef={host}/x", f"-insecureDockerRegistries={host}"]
        builder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with registry.accept()[0]:
            builder.send_signal(signal.Signals[f"SIG{number}"])
            out, err = builder.communicate()
    assert (builder.returncode, out) == (2, "Staging process started ...\n")
    assert err == f"Staging process failed: Exit trace for group:\nbuilder exited with error: {reason}\n\n"


@pytest.mark.parametrize("number", ["PIPE", "XFSZ", "INT"])
def test_signals_that_python_ignores_or_catches_have_their_default_again(copy: Path, number: str) -> None:
    metadata = f'{{"cmd":["/bin/sh","-c","kill -{number} $$; echo alive"]}}'
    status, out, _ = _run(copy / "docker/launcher", "app", "", metadata)
    assert status < 0
    assert out == ""
