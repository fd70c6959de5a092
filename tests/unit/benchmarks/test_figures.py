"""Figures of benchmarks: paths to them, and the file that hands them on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.figures import Figure, arguments_of, by_name, hand_on, read, value_of

pytestmark = pytest.mark.unit

FIGURES = [
    Figure("seconds", 3.0, "s", 25, 4.0),
    Figure("seconds", 1.5, "s", 1, 1.0),
    Figure("idle", 10.5, "MB"),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [("seconds[25]", 3.0), ("seconds[25].ratio", 0.75), ("idle", 10.5), ("seconds[1].floor", 1)],
)
def test_a_path_leads_to_a_value(path: str, value: float) -> None:
    assert value_of(path, FIGURES) == value


@pytest.mark.parametrize("path", ["memory", "seconds[2]"])
def test_a_path_to_no_figure_is_an_error(path: str) -> None:
    with pytest.raises(LookupError):
        value_of(path, FIGURES)


@pytest.mark.parametrize("path", ["seconds", "idle.ratio"])
def test_a_path_without_a_single_value_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match=r"too many values|no floor"):
        value_of(path, FIGURES)


def test_a_text_shows_figures_by_their_paths() -> None:
    text = "{seconds[25].ratio:.2f} x of {seconds[25].floor:.1f} s, {idle:.0f} MB"
    assert text.format_map(by_name(FIGURES)) == "0.75 x of 4.0 s, 10 MB"


def test_a_file_hands_the_figures_on(tmp_path: Path) -> None:
    args = arguments_of("").parse_args(["--json", str(tmp_path / "figures.json")])
    hand_on(FIGURES, args.json)
    assert read(args.json) == FIGURES


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hand_on(FIGURES, arguments_of("").parse_args([]).json)
    assert list(tmp_path.iterdir()) == []
