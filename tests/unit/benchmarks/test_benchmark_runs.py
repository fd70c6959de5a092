"""Runs of benchmarks: what becomes of their figures, of one that fails and of one that takes too long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import results
from benchmarks.figures import Figure
from benchmarks.plots import draw
from benchmarks.results import Run, load_machine, load_runs, machine, machine_text, run, save
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

BENCHMARK = """
import sys, time
from pathlib import Path
from benchmarks.figures import Figure, arguments_of, hand_on
parser = arguments_of("")
parser.add_argument("what")
args = parser.parse_args()
if args.what == "fail":
    sys.exit(3)
if args.what == "hang":
    try:
        Path("begun").touch()
        time.sleep(600)
    finally:
        Path("begun").rename("cleaned-up")
hand_on([Figure("seconds", 1.25, "s", 2)], args.json)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the runs, with a benchmark."""
    (tmp_path / "sample.py").write_text(BENCHMARK)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_run_has_the_figures_of_its_command() -> None:
    done = run("sample work", 120)
    assert (done.status, done.figures) == (0, (Figure("seconds", 1.25, "s", 2),))


@pytest.mark.usefixtures("folder")
def test_a_command_without_figures_is_a_run_too() -> None:
    done = run("sample work", 120, has_figures=False)
    assert (done.status, done.figures) == (0, ())


@pytest.mark.usefixtures("folder")
def test_a_run_that_fails_has_its_exit_status() -> None:
    done = run("sample fail", 120)
    assert (done.status, done.figures) == (3, ())


def test_a_run_that_takes_too_long_ends_and_cleans_up(folder: Path) -> None:
    limit_s = 2.0
    while not (folder / "cleaned-up").exists():  # a busy machine may need longer until it begins
        assert run("sample hang", limit_s).status is None
        limit_s *= 2
    assert [one for one in psutil.Process().children() if "sample" in one.cmdline()] == []


def test_stored_runs_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert load_runs(path) == {}
    runs = [
        Run("a --n 1", 0, 1.5, 0.25, "2026-01-01T00:00:00+00:00", (Figure("seconds", 1.0, "s", 1, 2.0),)),
        Run("b", None, 9.0, 0.25, "2026-01-01T00:01:00+00:00"),
    ]
    facts = machine()
    save(path, facts, runs)
    assert load_runs(path) == {one.command: one for one in runs}
    assert machine_text(load_machine(path)) == machine_text(facts)


def test_plots_show_figures_of_several_sizes(tmp_path: Path) -> None:
    def burst(count: int) -> Run:
        figures = (Figure("seconds", count / 10, "s", count, count / 8),)
        return Run(f"benchmarks.burst --n {count}", 0, 1.0, 0.0, "", figures)

    one_size = Run("benchmarks.restart", 0, 1.0, 0.0, "", (Figure("adopted", 1.0, "s", 50),))
    (path,) = draw([burst(25), burst(1), one_size], tmp_path / "plots")
    assert path.name == "burst.svg"
    text = path.read_text()
    assert "LRPs" in text
    assert "seconds, floor" in text
    before = path.read_bytes()
    draw([burst(25), burst(1)], tmp_path / "plots")
    assert path.read_bytes() == before


def test_the_runner_judges_what_is_stored(tmp_path: Path) -> None:
    save(
        tmp_path / "results.json",
        machine(),
        [
            Run(
                "benchmarks.cache",
                0,
                1.0,
                0.0,
                "",
                (Figure("requests", 2, "", 50), Figure("hit", 1, "ms", 64, 2)),
            )
        ],
    )
    command = [sys.executable, "-m", "benchmarks", "--no-run", "--only", "benchmarks.cache"]
    done = subprocess.run(
        [*command, "--results", tmp_path / "results.json", "--plots", tmp_path / "plots"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "2 request; a hit costs 0.50 x of a copy; missed" in " ".join(done.stdout.split())
    assert "Burst" not in done.stdout
