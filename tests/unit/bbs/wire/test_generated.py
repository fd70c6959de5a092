"""The checked-in generated code is current."""

from __future__ import annotations

from pathlib import Path

import pytest

from bbs.models.errors import ErrorType
from bbs.wire.generate import FOLDERS, PROTO_DIR, ROOT, generate
from bbs.wire.messages import FILES
from bbs.wire.proto import error_pb2

pytestmark = pytest.mark.unit


def serialized_descriptor(path: Path) -> str:
    """The part of a generated module that does not depend on the compiler's version."""
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("DESCRIPTOR = ")]
    return line


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_generated_code_is_current(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path, [folder])
    fresh = {path.name: path for path in (tmp_path / folder).iterdir()}
    kept = {path.name: path for path in (ROOT / folder).glob("*_pb2.py*")}
    assert fresh.keys() == kept.keys()
    for name, path in fresh.items():
        if path.suffix == ".py":
            assert serialized_descriptor(path) == serialized_descriptor(kept[name]), name


def test_every_proto_file_is_known() -> None:
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / PROTO_DIR).glob("*.proto")}
    assert {file.name for file in FILES} == sources


def test_error_types_are_those_of_the_wire() -> None:
    assert {member.name: member.value for member in ErrorType} == dict(error_pb2.Error.Type.items())
