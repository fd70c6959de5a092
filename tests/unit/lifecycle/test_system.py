"""Program look-up, and restoration of the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.goflags import FlagSet
from lifecycle import entry
from lifecycle.buildpack.environment import absolute, clean, define_credhub_flags, prepare
from lifecycle.programs import PROGRAMS
from lifecycle.system import LookError, look_path

pytestmark = pytest.mark.unit


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "tool").write_text("#!")
    (folder / "tool").chmod(0o755)
    (folder / "data").write_text("x")
    (folder / "folder").mkdir()
    return folder


def test_found_in_path(bin_dir: Path) -> None:
    assert look_path("tool", {"PATH": f"/none:{bin_dir}"}) == f"{bin_dir}/tool"
    assert look_path(f"{bin_dir}/tool", {}) == f"{bin_dir}/tool"


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("none", "{bin}", "executable file not found in $PATH"),
        ("data", "{bin}", "executable file not found in $PATH"),
        ("folder", "{bin}", "executable file not found in $PATH"),
        ("", "{bin}", "executable file not found in $PATH"),
        ("tool", "", "executable file not found in $PATH"),
        ("tool", ":/none", "cannot run executable found relative to current directory"),
        ("tool", ".", "cannot run executable found relative to current directory"),
        ("{bin}/none", "", "stat {bin}/none: no such file or directory"),
        ("{bin}/data", "", "permission denied"),
        ("{bin}/folder", "", "is a directory"),
        ("{bin}/tool/x", "", "stat {bin}/tool/x: not a directory"),
    ],
)
def test_not_found(name: str, path: str, reason: str, bin_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bin_dir)
    name, path, reason = (text.replace("{bin}", str(bin_dir)) for text in (name, path, reason))
    with pytest.raises(LookError) as error:
        look_path(name, {"PATH": path})
    assert str(error.value) == f'exec: "{name}": {reason}'


def test_the_environment_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    marked = {":A": "1", ":LD_PRELOAD": "/x", ":": "odd", "::B": "2", "LC_CTYPE": "C.UTF-8", "LC_ALL": "C"}
    monkeypatch.setattr(os, "environ", dict(marked))
    entry.give_back_environment()
    assert os.environ == {"A": "1", "LD_PRELOAD": "/x", "": "odd", ":B": "2"}


def test_every_program_can_be_loaded() -> None:
    for module in set(PROGRAMS.values()):
        if not module.startswith("sshd."):
            assert callable(__import__(module, fromlist=["main"]).main)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("/a/./b/../c//d/", "/a/c/d"), ("//a", "/a"), ("/..", "/"), ("", "."), ("a/..", "."), ("/", "/")],
)
def test_cleaned_paths(path: str, cleaned: str) -> None:
    assert clean(path) == cleaned


def test_the_environment_of_an_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = absolute("x/../app/")
    assert app == f"{tmp_path}/app"
    environment = {"HOME": "/before", "TMPDIR": "/t", "VCAP_PLATFORM_OPTIONS": "", "VCAP_SERVICES": "{bad"}
    flags = FlagSet("launcher")
    define_credhub_flags(flags)
    prepare(environment, app, flags)
    assert environment == {
        "HOME": f"{tmp_path}/app",
        "TMPDIR": f"{tmp_path}/tmp",
        "DEPS_DIR": f"{tmp_path}/deps",
        "VCAP_SERVICES": "{bad",
    }
