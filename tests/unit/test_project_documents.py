"""Files and modules named in the documents exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.unit

DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SPECIFICATION.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
PACKAGES = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"tests"}

LINK = re.compile(r"\]\(([^)#]+)")
PATH = re.compile(r"(?<![\w./$<~*:-])([\w.-]+(?:/[\w.-]+)*/?)(?![\w/*])")
OURS = re.compile(r"(?!.*NAME).+\.(py|proto|md|toml|service)")
CODE = re.compile(r"`([^`]+)`")
MODULE = re.compile(r"(?!.*\.(py|json)$)[a-z_]+(\.[a-z_]+)+")


def by_section(text: str) -> list[str]:
    return re.split(r"^## ", text, flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_to_a_file(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_path_exists(document: Path) -> None:
    """From the root, or from a folder of a path that the same section names earlier."""
    missing = []
    for section in by_section(document.read_text()):
        folders = [REPOSITORY, document.parent]
        for code in CODE.findall(section):
            for name in PATH.findall(code):
                found = next((folder / name for folder in folders if (folder / name).exists()), None)
                if found is not None:
                    folders.append(found if found.is_dir() else found.parent)
                elif OURS.fullmatch(name):
                    missing.append(name)
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_module_exists(document: Path) -> None:
    names = {name for name in CODE.findall(document.read_text()) if MODULE.fullmatch(name)}
    ours = {name for name in names if name.partition(".")[0] in PACKAGES}
    assert [name for name in sorted(ours) if importlib.util.find_spec(name) is None] == []
