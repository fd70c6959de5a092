"""The row of a container in the journal gives back its record, and is cheap to write at each move."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from executor.containers import record as module
from executor.containers.record import ContainerRecord, Records, from_row, unchanged
from executor.journal.api import ContainerRow
from executor.model import Container, ContainerState, RunInfo
from tests.support.executor_doubles import run_request
from tests.support.journals import FailingJournal

pytestmark = pytest.mark.unit


@pytest.fixture
def container() -> Container:
    info = run_request(env=(("NAME", "two\nlines"),), ports=(8080,)).run_info
    return Container(guid="ig", state=ContainerState.CREATED, memory_mb=128, run_info=info)


def test_a_row_gives_back_its_record(container: Container) -> None:
    journal = FailingJournal()
    records = Records(journal)
    note = {"trace_id": "t", "started_at_ns": 1, "created_at_ns": 2, "engine_id": "abc"}
    records.moved(container, lambda record: replace(record, **note))
    records.checked("ig", readiness=False)
    (row,) = journal.rows.containers.values()
    assert row.engine_id == "abc"
    assert from_row(row) == ContainerRecord(container=container, readiness=False, **note)


def test_the_run_info_is_encoded_when_it_changes_only(container: Container) -> None:
    records = Records(FailingJournal())
    with patch.object(module, "encode", wraps=module.encode) as encode:
        for state in ContainerState:
            records.moved(replace(container, state=state), unchanged)
        records.moved(replace(container, run_info=replace(container.run_info, ports=())), unchanged)
    assert sum(isinstance(call.args[0], RunInfo) for call in encode.call_args_list) == 2


@pytest.mark.parametrize("value", [b"", b"{}", b'{"container":{"guid":"ig"}}', b"{}\n{", b"[]\n{}"])
def test_a_row_that_cannot_be_read_is_none(value: bytes) -> None:
    assert from_row(ContainerRow(guid="ig", value=value)) is None
