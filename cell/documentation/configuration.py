"""The reference of all configuration keys.

``python -m cell.documentation.configuration`` writes the document; a test compares it with the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cell.documentation.keys import Key, Section, proxy_sections, rep_sections

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

HEAD = """\
# Configuration

This document is made from the code by `python -m cell.documentation.configuration`.

- `cell rep --check-config FILE` lists the problems of a `rep.json`, and keys that it does not know.
- `cell rep --print-config FILE` shows the effective value of each key, and where it comes from.
- A duration is a text such as `"30s"`, `"500ms"` or `"1m30s"`.
- Keys match in any case. A key that begins with `//` is a comment.
- **Reload**: `yes` if `systemctl reload diego-cell` puts a changed value in use; others need a restart.
- **Since**: the first version with the key.
"""


def document() -> str:
    """The whole reference as Markdown."""
    lines = [HEAD, "## rep.json\n"]
    for section in rep_sections():
        lines += _section(section, reload=True)
    lines.append("## ssh_proxy.json\n")
    lines.append("The ssh proxy reads its file at a start only.\n")
    for section in proxy_sections():
        lines += _section(section, reload=False)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, *, reload: bool) -> Iterator[str]:
    yield f"### {section.title}\n"
    names = ["Key", "Type", "Default", "Since", "Effect"]
    if reload:
        names.insert(4, "Reload")
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for key in section.keys:
        yield f"| {' | '.join(_cells(key, reload=reload))} |"
    yield ""


def _cells(key: Key, *, reload: bool) -> Iterable[str]:
    yield f"`{key.name}`"
    yield key.kind
    yield f"`{key.default}`" if key.default else ""
    yield key.since
    if reload:
        yield "yes" if key.live else ""
    yield key.effect.replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document())
