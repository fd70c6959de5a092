"""The reference of all metrics, in ``docs/metrics.md``: ``python -m cell.documentation.metrics``.

The page has tables between two marks; everything else in it is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cell.assembly.catalogue import ALL, FAMILIES, SSH_PROXY
from common.metrics.families import Family, Label

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
BEGIN: Final = "<!-- written by python -m cell.documentation.metrics -->"
END: Final = "<!-- end -->"


def renewed(page: str) -> str:
    """The page with current tables. Raises ValueError if it has no marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{''.join(_tables())}{END}{after}"


def _tables() -> Iterator[str]:
    for title, families in {**FAMILIES, "SSH proxy": SSH_PROXY}.items():
        yield f"\n### {title}\n\n| Name | Type | Labels | Meaning |\n|---|---|---|---|\n"
        for family in families:
            labels = ", ".join(map(_label, family.labels))
            yield f"| `{family.name}` | {family.kind.value} | {labels} | {family.text} |\n"
    yield "\n### Component metrics of Diego\n\n| Sent to loggregator | Family |\n|---|---|\n"
    replaced = {name: (family, values) for family in ALL for name, values in family.replaces.items()}
    for name, (family, values) in sorted(replaced.items()):
        yield f"| `{name}` | `{_series(family, values)}` |\n"


def _label(label: Label) -> str:
    if label.values:
        return f"`{label.name}`: {', '.join(label.values)}"
    return f"`{label.name}` (at most {label.most})"


def _series(family: Family, values: tuple[str, ...]) -> str:
    pairs = ", ".join(f'{label.name}="{value}"' for label, value in zip(family.labels, values, strict=False))
    return f"{family.name}{{{pairs}}}" if pairs else family.name


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {len(ALL)} families\n")
