"""Decoder of records: bounded cache, and damaged records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bbs.embedded.store.records import Decoder
from bbs.embedded.store.tables import Tables
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from bbs.models.task import TaskDefinition
from bbs.wire.mapping import encode, to_wire
from bbs.wire.proto import desired_lrp_pb2

pytestmark = pytest.mark.unit

DAMAGED = b"\xff\xff\xff"


def test_what_is_kept_decoded_is_bounded_in_bytes(web_lrp: DesiredLRP) -> None:
    """60 updates of an LRP of 1 MB do not stay in memory."""
    decoder = Decoder(desired_lrp_pb2.DesiredLRP, DesiredLRP, most_bytes=1000)
    records = [encode(to_wire(replace(web_lrp, annotation=f"{number:0300}"))) for number in range(10)]
    values = [decoder(record) for record in records]
    assert [value.annotation for value in values] == [f"{number:0300}" for number in range(10)]
    assert 0 < decoder.bytes <= 1000
    assert decoder(records[-1]) is values[-1]
    assert decoder(records[0]) == values[0]


async def test_a_damaged_record_harms_no_other(
    world: Any, web_lrp: DesiredLRP, definition: TaskDefinition, caplog: pytest.LogCaptureFixture
) -> None:
    """Lists omit it, convergence continues, and a call for it returns an error."""
    store, controllers = world.bbs.controllers.deps.store, world.bbs.controllers
    for guid in ("bad", "good"):
        await controllers.desired.desire(replace(web_lrp, process_guid=guid), "")
        await controllers.tasks.desire(guid, "d", definition)

    def damage(tables: Tables) -> None:
        tables.connection.execute(
            "UPDATE desired_lrps SET payload = ? WHERE process_guid = 'bad'", (DAMAGED,)
        )
        tables.connection.execute("UPDATE tasks SET payload = ? WHERE task_guid = 'bad'", (DAMAGED,))

    await store.run(damage)
    assert [lrp.process_guid for lrp in await store.run(Tables.desired_lrps)] == ["good"]
    assert [task.task_guid for task in await store.run(Tables.tasks)] == ["good"]
    with pytest.raises(BBSError) as unreadable:
        await store.run(lambda tables: tables.desired_lrp("bad"))
    assert unreadable.value.type is ErrorType.Deserialize
    await world.converge()
    assert {record.message for record in caplog.records} == {"unreadable-record"}
