"""Figures of a benchmark, which `--json FILE` hands on besides the printed text."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    size: what the value was measured at, where a benchmark has several sizes. floor: the value of the floor
    or peer in the same run, in the same unit.
    """

    name: str
    value: float
    unit: str
    size: int | None = None
    floor: float | None = None

    @property
    def ratio(self) -> float:
        """The value divided by that of the floor. Raises ValueError without a floor."""
        if not self.floor:
            raise ValueError(f"{self.name} has no floor")
        return self.value / self.floor

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The figures of one name. Where there is one size only, they stand for its figure."""

    by_size: Mapping[int | None, Figure]

    def __getitem__(self, size: int) -> Figure:
        return self.by_size[size]

    @property
    def only(self) -> Figure:
        """Raises ValueError if there are several sizes."""
        (figure,) = self.by_size.values()
        return figure

    @property
    def ratio(self) -> float:
        return self.only.ratio

    @property
    def floor(self) -> float | None:
        return self.only.floor

    def __float__(self) -> float:
        return float(self.only)

    def __format__(self, spec: str) -> str:
        return format(self.only, spec)


def by_name(figures: Iterable[Figure]) -> dict[str, Sizes]:
    """The figures of each name, by size."""
    found: dict[str, dict[int | None, Figure]] = {}
    for figure in figures:
        found.setdefault(figure.name, {})[figure.size] = figure
    return {name: Sizes(sizes) for name, sizes in found.items()}


def value_of(path: str, figures: Iterable[Figure]) -> float:
    """The value at a path such as ``seconds``, ``seconds[25]`` or ``seconds[25].ratio``. Raises LookupError,
    ValueError.
    """
    found, _ = Formatter().get_field(path, (), by_name(figures))
    return float(found)


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """A parser of a benchmark's arguments: `--json`, to which the benchmark adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return parser


def hand_on(figures: Iterable[Figure], path: Path | None) -> None:
    """Write the figures where `--json` says, if it is given."""
    if path is not None:
        path.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


def read(path: Path) -> list[Figure]:
    """The figures of a file. Raises OSError, ValueError, TypeError."""
    return [Figure(**each) for each in json.loads(path.read_text())]
