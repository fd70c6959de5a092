"""The wheel in an empty environment, with its dependencies only and without the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from docker import APIClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lifecycle.bundle.sources import default_cache
from tests.support.paths import REPOSITORY
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.docker

PROJECT_FILE = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
PACKAGES = [name.rstrip("*") for name in PROJECT_FILE["tool"]["setuptools"]["packages"]["find"]["include"]]
OTHER_SOURCES = ("pyproject.toml", "README.md", "LICENSE")
PROJECT = "diego-cell"
PLAIN_CELL = {
    "cell_id": "far",
    "bbs_address": "http://127.0.0.1:8889",
    "locket_address": "127.0.0.1:8891",
    "listen_addr": "127.0.0.1:1800",
    "listen_addr_securable": "127.0.0.1:1801",
}
DOWNLOADS = ("packages", "wheels", "unpacked")
"""Folders of the build cache with downloaded files."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: a build leaves files beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in OTHER_SOURCES:
        shutil.copy(REPOSITORY / name, sources)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, sources],
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def _runtime_distributions() -> Iterator[metadata.Distribution]:
    """What the project declares as dependencies, and theirs."""
    extras: dict[str, set[str]] = {}
    waiting = [Requirement(PROJECT)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        known = extras.get(name)
        if known is not None and wanted.extras <= known:
            continue
        extras.setdefault(name, set()).update(wanted.extras)
        found = metadata.distribution(name)
        if known is None and name != PROJECT:
            yield found
        for text in found.requires or ():
            needed = Requirement(text)
            chosen = [{"extra": extra} for extra in ("", *wanted.extras)]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in chosen):
                waiting.append(needed)


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``site-packages`` of a new environment: the wheel, links to its dependencies, and pip."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, symlinks=True)
    (site,) = place.glob("lib/python3*/site-packages")
    for distribution in (*_runtime_distributions(), metadata.distribution("pip")):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(Path(str(distribution.locate_file(name))))
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return site


@pytest.fixture
def cell(site: Path, tmp_path: Path) -> Callable[..., str]:
    """Run the installed ``cell`` in an empty folder, with a cache of its own; returns its output."""
    cache = tmp_path / "cache"
    for name in DOWNLOADS:
        if (default_cache() / name).is_dir():
            shutil.copytree(default_cache() / name, cache / "diego-cell/bundle" / name, symlinks=True)
    far = tmp_path / "far"
    far.mkdir()
    program = site.parents[2] / "bin/cell"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [program, *words],
            cwd=far,
            env={**inherited, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_wheel_has_every_file_of_our_packages(wheel: Path) -> None:
    ours = {
        str(path.relative_to(REPOSITORY))
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {member.filename: member.external_attr >> 16 for member in archive.infolist()}
    assert ours - packed.keys() == set()
    buildpack = "cell/examples/buildpacks/python/bin/detect"
    assert packed[buildpack] & 0o111, "a buildpack's programs stay executable"


def test_an_installed_cell_runs_a_tree_and_reads_a_configuration(
    cell: Callable[..., str], site: Path, tmp_path: Path, docker_client: APIClient
) -> None:
    tree = site / "cell/examples/trees/run.json"
    events = cell("run", tree, "--image", "busybox", "--json", "--state-dir", tmp_path / "run")
    assert json.loads(events.splitlines()[-1])
    assert cell("--version") == f"cell {metadata.version(PROJECT)}\n"
    config = tmp_path / "rep.json"
    config.write_text(json.dumps(PLAIN_CELL))
    assert "cell_id" in cell("rep", "--print-config", config)


@pytest.mark.skipif(not THOROUGH, reason="builds the bundle and runs the whole demo: in `make test-all`")
def test_an_installed_cell_shows_the_demo(
    cell: Callable[..., str], docker_client: APIClient, tmp_path: Path
) -> None:
    """The demo starts `cell dev`, which builds the bundle, and pushes an app with a buildpack."""
    shown = cell("demo", "--state-dir", tmp_path / "demo")
    assert "cell push: a Python app, staged and RUNNING" in shown
    assert (tmp_path / "cache/diego-cell/bundle/ready").is_dir()
