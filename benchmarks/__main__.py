"""Measure what is promised: run the commands of all promises one after another, and print the verdicts.

The runs go to benchmarks/results.json with the facts of the machine; runs of earlier times that are not
repeated stay there, as those of commands that take long. Plots of cost over size go to benchmarks/plots.
`--update` also rewrites the table of SPECIFICATION.md. The exit status is 1 if a command failed or a miss has
no explanation.

    .venv/bin/python -m benchmarks
    .venv/bin/python -m benchmarks --long --minutes 30
    .venv/bin/python -m benchmarks --only burst --only steps
    .venv/bin/python -m benchmarks --no-run --update
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.plots import draw
from benchmarks.promises import PROMISES, Command
from benchmarks.results import ROOT, Run, load_machine, load_runs, machine, machine_text, run, save
from benchmarks.specification import rewritten
from benchmarks.verdicts import Outcome, outcomes

RESULTS = ROOT / "benchmarks" / "results.json"
DRAWINGS = ROOT / "benchmarks" / "plots"
SPECIFICATION = ROOT / "SPECIFICATION.md"
MINUTES = 15.0


def commands(only: Sequence[str], *, long: bool) -> list[Command]:
    """The commands of the promises, each once.

    only: those that contain one of these texts, also long ones. long: without ``only``, long ones too.
    """
    found = dict.fromkeys(promise.command for promise in PROMISES)
    if only:
        return [each for each in found if any(text in each.text for text in only)]
    return [each for each in found if long or not each.is_long]


def measure(chosen: Sequence[Command], minutes: float) -> list[Run]:
    """Run the commands. Those for which no time is left are not run."""
    end = time.monotonic() + 60 * minutes
    runs = []
    for command in chosen:
        left = end - time.monotonic()
        if left <= 0:
            print(f"== no time is left for {command.text}", flush=True)
            continue
        print(f"== {command.text}", flush=True)
        runs.append(run(command.text, min(command.limit_s, left), has_figures=command.has_figures))
    return runs


def show(found: Sequence[Outcome]) -> None:
    """Print the table."""
    table = Table("promise", "aim", "measured", "verdict", show_lines=True)
    for one in found:
        table.add_row(one.promise.name, one.promise.aim, one.measured, one.verdict.value)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def draw_plots(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write the plots, if the library for them is installed."""
    try:
        return draw(runs, folder)
    except ImportError as error:
        print(f"no plots: {error}; `pip install diego-cell[bench]` installs it")
        return []


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="commands with this text; repeatable")
    parser.add_argument("--long", action="store_true", help="also commands that take long")
    parser.add_argument("--no-run", action="store_true", help="judge the stored runs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all (default 15)")
    parser.add_argument("--update", action="store_true", help="rewrite the table of SPECIFICATION.md")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default benchmarks/results.json")
    parser.add_argument("--plots", type=Path, default=DRAWINGS, help="folder (default benchmarks/plots)")
    args = parser.parse_args()
    chosen, runs = commands(args.only, long=args.long), load_runs(args.results)
    if args.no_run:
        facts = load_machine(args.results)
    else:
        facts = machine()
        print(f"{machine_text(facts)}; load {facts['load']:.1f}", flush=True)
        runs |= {one.command: one for one in measure(chosen, args.minutes)}
        known = {promise.command.text for promise in PROMISES}
        runs = {text: one for text, one in runs.items() if text in known}
        save(args.results, facts, runs.values())
    plots = draw_plots(list(runs.values()), args.plots)
    found = outcomes(runs)
    shown = [one for one in found if one.promise.command in chosen]
    show(shown)
    if args.update:
        paths = [str(path.resolve().relative_to(ROOT)) for path in plots]
        text = SPECIFICATION.read_text()
        SPECIFICATION.write_text(rewritten(text, found, machine_text(facts), paths))
    return 0 if all(one.explained for one in shown) else 1


if __name__ == "__main__":
    sys.exit(main())
