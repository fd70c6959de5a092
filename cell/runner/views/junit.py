"""JUnit report: a test case for every step with an action of its own, in the order of the tree."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from cell.errors import FAILED, SUCCESS
from cell.runner.events import LogWritten, RunEvent
from cell.runner.model import Row, Tree
from cell.story.progress import State

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
OUTPUT_LINES = 10_000
"""Maximum number of log lines in the report; the last lines are kept."""


class JunitView:
    """Writes the file at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tree = Tree()
        self._lines: list[str] = []

    def take(self, event: RunEvent) -> None:
        self._tree.apply(event)
        if isinstance(event, LogWritten):
            line = event.line
            self._lines.append(f"[{line.source_type}] {line.payload.decode(errors='replace')}")
            del self._lines[:-OUTPUT_LINES]

    def close(self) -> None:
        """Raises OSError."""
        report = junit_document(self._tree, self._lines)
        ET.indent(report)
        report.write(self._path, encoding="utf-8", xml_declaration=True)


def junit_document(tree: Tree, lines: list[str]) -> ET.ElementTree[ET.Element]:
    """The report. Pure.

    A failure outside the steps (image, engine, time limit, interrupt) is the error of an extra test case
    ``run``.
    """
    started, ended = tree.started, tree.ended
    name = (started.name or started.kind) if started else "run"
    failures = tree.failures()
    cases = [_case(row, name, row in failures) for row in tree if not row.children or row in failures]
    if ended is not None and ended.exit_code != SUCCESS and (not failures or ended.exit_code != FAILED):
        case = ET.Element("testcase", {"classname": name, "name": "run", "time": f"{ended.seconds:.3f}"})
        _put(case, "error", ended.reason)
        cases.append(case)
    suite = ET.Element(
        "testsuite",
        {
            "name": f"cell run {name}",
            "tests": str(len(cases)),
            "failures": str(sum(case.find("failure") is not None for case in cases)),
            "errors": str(sum(case.find("error") is not None for case in cases)),
            "skipped": str(sum(case.find("skipped") is not None for case in cases)),
            "time": f"{ended.seconds if ended else 0:.3f}",
        },
    )
    suite.extend(cases)
    if lines:
        ET.SubElement(suite, "system-out").text = _clean("\n".join(lines))
    suites = ET.Element("testsuites")
    suites.append(suite)
    return ET.ElementTree(suites)


def _case(row: Row, name: str, failed: bool) -> ET.Element:
    case = ET.Element(
        "testcase", {"classname": name, "name": _clean(row.node.path), "time": f"{row.seconds:.3f}"}
    )
    if failed:
        _put(case, "failure", f"{row.reason}: {row.cause}" if row.cause else row.reason)
    elif row.state is State.FAILED:
        _put(case, "skipped", f"failed, which is allowed here: {row.reason}")
    elif row.state is not State.SUCCEEDED:
        _put(case, "skipped", "did not run" if row.state is State.WAITING else row.state.value)
    return case


def _put(case: ET.Element, kind: str, text: str) -> None:
    inner = ET.SubElement(case, kind, {"message": _clean(text)})
    inner.text = _clean(text)


def _clean(text: str) -> str:
    """The text with U+FFFD for characters that XML forbids."""
    return _NOT_XML.sub("\ufffd", text)
