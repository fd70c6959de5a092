"""The manual pages: one for each command, with its options, and pages that roff accepts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cell.documentation.manpages import main, pages
from cell.examples import EXAMPLES
from cell.registry import COMMANDS

pytestmark = pytest.mark.unit


def test_every_command_and_every_file_has_a_page() -> None:
    names = [name for name, _ in pages()]
    commands = [f"cell-{name}.1" for name in COMMANDS]
    assert names == ["cell.1", *commands, "rep.json.5", "ssh_proxy.json.5"]


def test_a_page_has_the_options_and_no_path_of_this_machine() -> None:
    texts = dict(pages())
    assert "\\-\\-check\\-config FILE" in texts["cell-rep.1"]
    assert "evacuation_timeout (duration, default" in texts["rep.json.5"]
    assert [name for name, text in texts.items() if str(EXAMPLES.parent) in text] == []


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_roff_accepts_the_pages(tmp_path: Path) -> None:
    main(tmp_path)
    files = sorted(tmp_path.iterdir())
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
