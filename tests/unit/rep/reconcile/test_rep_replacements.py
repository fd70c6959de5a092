"""Evacuation by events: a container is removed once its replacement runs, with any state of the stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from bbs.backoff import Backoff
from bbs.client.api import BBSClient
from bbs.client.transport import EndpointNotFoundError
from bbs.models.actual_lrp import Presence
from bbs.models.errors import BBSError, ErrorType
from bbs.models.events import ActualLRPInstanceCreatedEvent, ActualLRPInstanceRemovedEvent
from rep.evacuation import EvacuationFlag
from rep.reconcile.batch import ContainerOperation, Operation
from rep.reconcile.replacements import following_replacements
from tests.support.rep_doubles import actual_lrp
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.rep_doubles import ScriptedBBS

pytestmark = pytest.mark.unit

GUID = "11111111-2222-3333-4444-5555"
AT_ONCE = Backoff(attempts=0, first_s=0.0)


def stream(bbs: ScriptedBBS, *entries: object) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for entry in entries:
        queue.put_nowait(entry)
    bbs.streams.append(queue)


async def test_a_removed_evacuating_record_is_looked_at_at_once(bbs: ScriptedBBS) -> None:
    """Evacuated containers stayed until the next poll, 10 s, after their replacements ran."""
    stream(
        bbs,
        ActualLRPInstanceCreatedEvent(actual_lrp=actual_lrp(Presence.EVACUATING, "created")),
        ActualLRPInstanceRemovedEvent(actual_lrp=actual_lrp(Presence.ORDINARY, "ordinary")),
        ActualLRPInstanceRemovedEvent(actual_lrp=actual_lrp(Presence.EVACUATING)),
    )
    flag, pushed = EvacuationFlag(), list[Operation]()
    async with following_replacements("cell-1", cast(BBSClient, bbs), flag, pushed.append):
        await asyncio.sleep(0)
        assert bbs.subscriptions == [], "nothing is asked of the BBS before an evacuation"
        flag.set()
        await until(lambda: bool(pushed))
    assert pushed == [ContainerOperation(GUID)]
    assert bbs.subscriptions == ["cell-1"]


@pytest.mark.parametrize("trouble", [None, BBSError(ErrorType.Timeout)])
async def test_a_stream_that_ends_or_fails_is_opened_again(bbs: ScriptedBBS, trouble: object) -> None:
    stream(bbs, trouble)
    stream(bbs, ActualLRPInstanceRemovedEvent(actual_lrp=actual_lrp(Presence.EVACUATING)))
    flag, pushed = EvacuationFlag(), list[Operation]()
    flag.set()
    async with following_replacements("cell-1", cast(BBSClient, bbs), flag, pushed.append, AT_ONCE):
        await until(lambda: bool(pushed))


async def test_a_bbs_without_the_stream_is_asked_once(
    bbs: ScriptedBBS, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stream(bbs, EndpointNotFoundError(ErrorType.InvalidResponse, "404"))
    flag = EvacuationFlag()
    flag.set()
    async with following_replacements("cell-1", cast(BBSClient, bbs), flag, lambda _: None, AT_ONCE):
        await until(lambda: "replacements.no-event-stream" in caplog.messages)
    assert bbs.subscriptions == ["cell-1"]
