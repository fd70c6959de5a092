"""The manual pages: ``python -m cell.documentation.manpages FOLDER`` writes them.

cell(1), a page for each command, made from its help, and rep.json(5) and ssh_proxy.json(5), made from the
declarations of the keys.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from cell.cli import Option
from cell.documentation.keys import Section, proxy_sections, rep_sections
from cell.examples import EXAMPLES
from cell.registry import COMMANDS, module_of
from executor.journal.opening import DISTRIBUTION

INTRODUCTION: Final = """\
`cell` runs the cell of a container cloud on Docker, and speaks with one that runs: `cell rep` is the agent
of a cell under a control plane, `cell dev` a control plane and a cell on one machine, `cell run` executes one
action tree.
"""
INSTALLED_EXAMPLES: Final = "/usr/share/doc/diego-cell-common/examples"
FILES: Final = {
    "/etc/diego-cell/rep.json": "the configuration of the cell, see rep.json(5)",
    "/var/lib/diego-cell": "journal, spool and container files of the cell",
    "/var/cache/diego-cell": "downloads",
    INSTALLED_EXAMPLES: "Tasks, LRPs, action trees, apps and buildpacks to try",
}
REP_FILE: Final = """\
rep.json is the configuration of a cell: one JSON object. `cell rep --check-config` lists its problems,
`cell rep --print-config` its effective values. A duration is a text such as "30s" or "1m30s". Keys match in
any case; a key that begins with // is a comment.
"""
PROXY_FILE: Final = """\
ssh_proxy.json is the configuration of the ssh proxy: one JSON object, which is read at a start. A duration is
a text such as "30s".
"""


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of every page."""
    yield "cell.1", _overview()
    for name in COMMANDS:
        yield f"cell-{name}.1", _command_page(name)
    yield "rep.json.5", _file_page("rep.json", "configuration of a cell", REP_FILE, rep_sections())
    yield (
        "ssh_proxy.json.5",
        _file_page("ssh_proxy.json", "configuration of the ssh proxy", PROXY_FILE, proxy_sections()),
    )


def _overview() -> str:
    return _page(
        ("cell", 1, "the Diego cell on Docker"),
        "SYNOPSIS",
        ".B cell\n.I COMMAND\n[ARGUMENTS]\n",
        "DESCRIPTION",
        _text(INTRODUCTION),
        "COMMANDS",
        "".join(_item(f"cell-{name}(1)", text) for name, text in COMMANDS.items()),
        "FILES",
        "".join(_item(path, text) for path, text in FILES.items()),
    )


def _command_page(name: str) -> str:
    module = module_of(name)
    command: click.Command = getattr(importlib.import_module(module), module.rpartition(".")[2])
    context = click.Context(command, info_name=f"cell {name}")
    usage = " ".join(context.command.collect_usage_pieces(context))
    options: dict[str, str] = {}
    for parameter in command.get_params(context):
        row = parameter.get_help_record(context)
        if row is not None and isinstance(parameter, click.Option):
            section = parameter.section if isinstance(parameter, Option) and parameter.section else "Options"
            options[section] = options.get(section, "") + _item(*row)
    summary, _, rest = inspect.cleandoc(command.help or "").partition("\n")
    parts = [part for heading, items in options.items() for part in (heading.upper(), items)]
    return _page(
        (f"cell-{name}", 1, summary.strip().rstrip(".")),
        "SYNOPSIS",
        f".B cell {_escaped(name)}\n{_escaped(usage)}\n",
        "DESCRIPTION",
        _text(f"{summary}\n{rest}"),
        *parts,
    )


def _file_page(name: str, summary: str, text: str, sections: Sequence[Section]) -> str:
    parts = []
    for section in sections:
        items = ""
        for key in section.keys:
            facts = [key.kind, *([f"default {key.default}"] if key.default else []), f"since {key.since}"]
            items += _item(f"{key.name} ({', '.join(facts)})", key.effect)
        parts += [section.title.upper(), items]
    return _page((name, 5, summary), "DESCRIPTION", _text(text), *parts)


def _page(about: tuple[str, int, str], *parts: str) -> str:
    """about: name, section of the manual, summary. parts: headings, each followed by its text in roff."""
    name, number, summary = about
    lines = [
        f'.TH "{_escaped(name)}" "{number}" "" "diego-cell {metadata.version(DISTRIBUTION)}" "diego-cell"',
        ".nh",  # no hyphens that are no part of a name
        ".ad l",
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(summary)}",
    ]
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        lines += [f'.SH "{_escaped(heading.replace("`", ""))}"', text.rstrip("\n")]
    return "\n".join(lines) + "\n"


def _item(term: str, text: str) -> str:
    return f".TP\n.B {_escaped(term)}\n{_escaped(text)}\n"


def _text(plain: str) -> str:
    """Paragraphs. One with indented lines keeps its lines: examples and tables."""
    out = []
    for paragraph in re.split(r"\n\s*\n", plain.strip("\n")):
        if paragraph.strip():
            kept = any(line.startswith("  ") for line in paragraph.splitlines())
            body = "\n".join(_escaped(line) for line in paragraph.splitlines())
            out.append(f".PP\n.nf\n{body}\n.fi" if kept else f".PP\n{body}")
    return "\n".join(out)


def _escaped(text: str) -> str:
    """A line of text that roff prints as it is; marks of Markdown become bold or go."""
    text = text.replace(str(EXAMPLES), INSTALLED_EXAMPLES)
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("**", "").replace("'", "\\(aq")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fP", text)
    return f"\\&{text}" if text.startswith((".", "\\(aq")) else text


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
