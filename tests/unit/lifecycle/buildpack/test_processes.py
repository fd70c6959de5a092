"""Process types and sidecars from launch.yml, release and Procfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.buildpack import processes
from lifecycle.buildpack.buildpacks import BuildError
from lifecycle.buildpack.processes import Process, merge

pytestmark = pytest.mark.unit

WEB, OTHER_WEB, WORKER = Process("web", "a"), Process("web", "b"), Process("worker", "w")


@pytest.mark.parametrize(
    ("sources", "merged"),
    [
        ([], []),
        ([[WEB, WORKER]], [WEB, WORKER]),
        ([[WEB, WORKER], [OTHER_WEB]], [OTHER_WEB, WORKER]),
        ([[WORKER], [WEB]], [WORKER, WEB]),
        ([[WEB, OTHER_WEB]], [WEB, OTHER_WEB]),
        ([[WEB, OTHER_WEB], [WEB]], [WEB]),
        ([[WEB], [Process("web", "s", ("worker",))]], [Process("web", "s", ("worker",))]),
    ],
)
def test_merging(sources: list[list[Process]], merged: list[Process]) -> None:
    assert merge(*sources) == merged


def test_what_a_launch_file_says(tmp_path: Path) -> None:
    path = tmp_path / "launch.yml"
    path.write_text(
        "processes:\n- {type: web, command: ./run}\n- type: agent\n  command: ./agent\n"
        "  limits: {memory: 64}\n  platforms: {cloudfoundry: {sidecar_for: [web, worker]}}\n"
        "- {type: tiny, command: t, platforms: {cloudfoundry: {sidecar_for: []}}}\n"
    )
    found = processes.launch_file(path)
    assert found is not None
    assert processes.processes_json(found) == [
        {"type": "web", "command": "./run"},
        {"type": "tiny", "command": "t"},
    ]
    assert processes.sidecars_json(found) == [
        {"name": "agent", "process_types": ["web", "worker"], "command": "./agent", "memory": 64}
    ]
    assert list(processes.process_types([WORKER, *found]).items()) == [
        ("tiny", "t"),
        ("web", "./run"),
        ("worker", "w"),
    ]


def test_launch_files_that_are_absent_empty_or_bad(tmp_path: Path) -> None:
    path = tmp_path / "launch.yml"
    assert processes.launch_file(path) is None
    path.write_text("")
    assert processes.launch_file(path) == []
    path.write_text("processes: x")
    with pytest.raises(BuildError, match=r"^yaml: "):
        processes.launch_file(path)
    with pytest.raises(BuildError, match="is a directory"):
        processes.launch_file(tmp_path)


def test_what_release_prints() -> None:
    assert processes.released("default_process_types: {web: run, n: 1}") == [
        Process("web", "run"),
        Process("n", "1"),
    ]
    assert processes.released("other: 1") == []
    assert processes.released("") == []
    for output in ("\tx", "default_process_types: []", "x"):
        with pytest.raises(BuildError, match=r"^buildpack's release output invalid: yaml: "):
            processes.released(output)


def test_procfile(tmp_path: Path) -> None:
    assert processes.procfile(tmp_path) == []
    path = tmp_path / "Procfile"
    path.write_text("web: run\nn: 12\nnothing:\n")
    assert processes.procfile(tmp_path) == [Process("web", "run"), Process("n", "12"), Process("nothing", "")]
    for content in ("plain text", "web: [a]", "\tx"):
        path.write_text(content)
        with pytest.raises(BuildError, match=r"^Failed to read command from Procfile: invalid YAML$"):
            processes.procfile(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BuildError, match=r"^Failed to read command from Procfile: read .*: is a directory$"):
        processes.procfile(tmp_path)
