"""staging_info.yml, written by the builder or by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle.buildpack.staging_info import StagingInfo, StagingInfoError, read

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("info", "line"),
    [
        (StagingInfo("Ruby", "rackup"), '{"detected_buildpack":"Ruby","start_command":"rackup"}\n'),
        (StagingInfo("", "a && b"), '{"detected_buildpack":"","start_command":"a \\u0026\\u0026 b"}\n'),
        (StagingInfo("x", "c", ""), '{"detected_buildpack":"x","start_command":"c","config":{}}\n'),
        (
            StagingInfo("x", "c", "/p -c"),
            '{"detected_buildpack":"x","start_command":"c","config":{"entrypoint_prefix":"/p -c"}}\n',
        ),
    ],
)
def test_what_the_builder_writes_is_what_the_launcher_reads(
    info: StagingInfo, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "staging_info.yml"
    path.write_text(info.dump())
    assert path.read_text() == line
    again = read(path)
    assert (again.detected_buildpack, again.start_command) == (info.detected_buildpack, info.start_command)
    assert (again.entrypoint_prefix or "") == (info.entrypoint_prefix or "")


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("", ""),
        ("null", ""),
        ("start_command: |\n  echo one\n  echo two\n", "echo one\necho two\n"),
        ("start_command: 12\n", "12"),
        ("start_command:\n", ""),
        ('{"start_command":12}', "12"),
        ('{"start_command":null,"config":null}', ""),
        ("start_command: a\nstart_command: b\nother: [1]\n", "b"),
    ],
)
def test_start_command(content: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / "staging_info.yml"
    path.write_text(content)
    assert read(path).start_command == command


@pytest.mark.parametrize("content", ["\tbad: [", "start_command: [a]", "hello", "config: x", "[1]"])
def test_malformed(content: str, tmp_path: Path) -> None:
    path = tmp_path / "staging_info.yml"
    path.write_text(content)
    with pytest.raises(StagingInfoError, match=r"^failed to unmarshal staging_info.yml: yaml: "):
        read(path)


def test_absent_and_unreadable(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == StagingInfo()
    with pytest.raises(StagingInfoError, match="is a directory"):
        read(tmp_path)
