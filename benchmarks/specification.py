"""The table of SPECIFICATION.md: its rows, and the same text with new figures. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.promises import Promise
from benchmarks.verdicts import Outcome, Verdict

HEADER = "| Promise | Goal | Measured | Floor or peer in the same run | Command |"
MACHINE = "Machine: "
PLOTS = "Plots: "


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row."""

    name: str
    aim: str
    measured: str
    floor: str
    command: str

    @property
    def line(self) -> str:
        return f"| {self.name} | {self.aim} | {self.measured} | {self.floor} | `{self.command}` |"


def rows(text: str) -> list[Row]:
    """The rows of the table. Raises ValueError if a row has another number of cells."""
    found = []
    for line in _table(text.splitlines()):
        name, aim, measured, floor, command = (cell.strip() for cell in line.strip("|").split(" | "))
        found.append(Row(name, aim, measured, floor, command.strip("`")))
    return found


def row_of(promise: Promise, measured: str) -> Row:
    return Row(promise.name, promise.aim, measured, promise.floor, promise.command.text)


def rewritten(text: str, outcomes: Sequence[Outcome], machine: str, plots: Iterable[str]) -> str:
    """The document with the rows of all promises. A promise that was not measured keeps its measured text.

    machine: facts of the machine in one line. plots: paths of plots. Both are at the end of the document.
    """
    before = {row.name: row.measured for row in rows(text)}
    lines = text.splitlines()
    old = _table(lines)
    at = lines.index(HEADER) + 2
    lines[at : at + len(old)] = [
        row_of(one.promise, _measured(one, before.get(one.promise.name, "-"))).line for one in outcomes
    ]
    links = ", ".join(f"[{path.rpartition('/')[2].removesuffix('.svg')}]({path})" for path in plots)
    text = "\n".join(line for line in lines if not line.startswith((MACHINE, PLOTS))).rstrip()
    return "\n\n".join([text, f"{MACHINE}{machine}", *([f"{PLOTS}{links}"] if links else [])]) + "\n"


def _measured(outcome: Outcome, before: str) -> str:
    return outcome.measured if outcome.verdict in (Verdict.MET, Verdict.MISSED) else before


def _table(lines: Sequence[str]) -> list[str]:
    """The lines of the rows."""
    at = lines.index(HEADER) + 2
    end = next((number for number in range(at, len(lines)) if not lines[number].startswith("|")), len(lines))
    return list(lines[at:end])
