"""Plots of cost over size, as SVG. They need the extra `bench` of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.results import Run


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of figures of one benchmark. size: what the size is."""

    name: str
    module: str
    size: str
    figures: Sequence[str]


PLOTS: Sequence[Plot] = (
    Plot("burst", "benchmarks.burst", "LRPs", ("seconds",)),
    Plot("full", "benchmarks.full", "LRPs", ("seconds", "p50", "one_more", "removal")),
    Plot("restart", "benchmarks.restart", "containers", ("answers", "adopted", "works")),
    Plot("steps", "benchmarks.steps", "actions", ("parallel", "serial", "towers")),
    Plot(
        "rules",
        "benchmarks.network",
        "containers",
        ("change_1_rules", "change_100_rules", "change_1000_rules"),
    ),
    Plot(
        "control",
        "benchmarks.control",
        "LRPs, containers, events or starts",
        ("list_all", "list_by_cell", "convergence", "bulk_pass", "event_fan_out", "auction"),
    ),
)


def series(plot: Plot, runs: Iterable[Run]) -> dict[str, dict[int, Figure]]:
    """The figures of a plot by name and size, in the order of their sizes; only those of several sizes."""
    found: dict[str, dict[int, Figure]] = {}
    for run in runs:
        if run.command.partition(" ")[0] != plot.module:
            continue
        for figure in run.figures:
            if figure.name in plot.figures and figure.size is not None:
                found.setdefault(figure.name, {})[figure.size] = figure
    return {name: dict(sorted(found[name].items())) for name in plot.figures if len(found.get(name, ())) > 1}


def draw(runs: Iterable[Run], folder: Path) -> list[Path]:
    """Write the plots that have figures of several sizes. Raises ImportError without the extra `bench`."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    runs, written = list(runs), []
    with matplotlib.rc_context({"svg.hashsalt": "diego-cell", "svg.fonttype": "none"}):
        for plot in PLOTS:
            lines = series(plot, runs)
            if not lines:
                continue
            picture, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
            for name, each in lines.items():
                label, floors = name.replace("_", " "), [figure.floor for figure in each.values()]
                (line,) = axes.plot(
                    list(each), [figure.value for figure in each.values()], marker="o", label=label
                )
                known = [floor for floor in floors if floor is not None]
                if len(known) == len(floors):
                    axes.plot(
                        list(each), known, linestyle="--", color=line.get_color(), label=f"{label}, floor"
                    )
            axes.set(xscale="log", yscale="log", xlabel=plot.size, ylabel=_unit(lines))
            axes.set_title(plot.module)
            axes.grid(visible=True, which="major", alpha=0.3)
            axes.legend(fontsize="small")
            path = folder / f"{plot.name}.svg"
            picture.savefig(path, metadata={"Date": None})
            pyplot.close(picture)
            written.append(path)
    return written


def _unit(lines: Mapping[str, Mapping[int, Figure]]) -> str:
    return next(figure.unit for each in lines.values() for figure in each.values())
