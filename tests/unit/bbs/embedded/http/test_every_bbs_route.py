"""Every route of the BBS and of Locket once: requests and responses as bytes.

Requests and answers are written by field number (``notation``), from the protocol's tables; nothing of
ours makes them. One story: the life of a process, an evacuation, tasks. ``?`` is an unpredictable value.
"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from aiohttp.test_utils import TestClient

from tests.support.notation import Notation
from tests.support.routes import route_table, served_routes

if TYPE_CHECKING:
    from tests.unit.bbs.embedded.conftest import World

pytestmark = pytest.mark.unit

Http = TestClient[Any, Any]

STORY = """
nobody is asked anything
/v1/ping
<  1:1

a domain is fresh for a minute
/v1/domains/upsert
>  1:"apps" 2:60
<
/v1/domains/list
<  2:"apps"

one cell has a presence
/v1/cells/list.r1
<  2:{1:"c1" 2:"http://c1" 3:"z1" 4:{1:1024 2:1024 3:10} 5:{1:"docker"} 8:"https://c1"}

a process with a shared image layer
/v1/desired_lrp/desire.r2
>  1:{1:"web" 2:"apps" 3:"docker:///app" 4:1 7:{3:{1:"/app" 6:"vcap"}} 11:64 17:"log" 34:{1:"n"
      2:"http://l" 3:"/" 4:1 5:1} 35:{1:"source_id" 2:{1:"src"}}}
<
/v1/desired_lrps/list.r3
>  1:"apps" 3:"we"
<  2:{1:"web" 2:"apps" 3:"docker:///app" 4:1 7:{3:{1:"/app" 6:"vcap"}} 11:64 15:{} 17:"log" 18:"src" 21:{1:?}
      34:{1:"n" 2:"http://l" 3:"/" 4:1 5:1} 35:{1:"source_id" 2:{1:"src"}}}
/v1/desired_lrps/list.r2
>  2:"web"
<  2:{1:"web" 2:"apps" 3:"docker:///app" 4:1 7:{3:{1:"/app" 6:"vcap"}} 11:64 15:{} 17:"log" 18:"src" 21:{1:?}
      22:{1:"n" 2:"http://l" 3:"/" 4:"http://l"} 35:{1:"source_id" 2:{1:"src"}}}
/v1/desired_lrps/get_by_process_guid.r3
>  1:"web"
<  2:{1:"web" 2:"apps" 3:"docker:///app" 4:1 7:{3:{1:"/app" 6:"vcap"}} 11:64 15:{} 17:"log" 18:"src" 21:{1:?}
      34:{1:"n" 2:"http://l" 3:"/" 4:1 5:1} 35:{1:"source_id" 2:{1:"src"}}}
/v1/desired_lrps/get_by_process_guid.r2
>  1:"web"
<  2:{1:"web" 2:"apps" 3:"docker:///app" 4:1 7:{3:{1:"/app" 6:"vcap"}} 11:64 15:{} 17:"log" 18:"src" 21:{1:?}
      22:{1:"n" 2:"http://l" 3:"/" 4:"http://l"} 35:{1:"source_id" 2:{1:"src"}}}
/v1/desired_lrp_scheduling_infos/list
>  1:"apps"
<  2:{1:{1:"web" 2:"apps" 3:"log"} 3:1 4:{1:64 3:"docker:///app"} 5:{} 6:{1:?} 7:{}}
/v1/desired_lrp_scheduling_infos/get_by_process_guid
>  1:"web"
<  2:{1:{1:"web" 2:"apps" 3:"log"} 3:1 4:{1:64 3:"docker:///app"} 5:{} 6:{1:?} 7:{}}
/v1/desired_lrp/update
>  1:"web" 2:{2:{1:{1:"r" 2:"[1]"}}}
<
/v1/desired_lrp_routing_infos/list
>  2:"web"
<  2:{1:"web" 2:"apps" 4:1 15:{1:{1:"r" 2:"[1]"}} 17:"log" 21:{1:? 2:1} 35:{1:"source_id" 2:{1:"src"}}}
/v1/desired_lrps/get_by_process_guid.r3
>  1:"nope"
<  1:{1:13 2:"the requested resource could not be found"}

its instance waits, fails to be placed, is claimed
/v1/actual_lrps/list
>  3:"web" 4:0
<  2:{1:{1:"web" 3:"apps"} 2:{} 3:{} 6:"UNCLAIMED" 8:? 9:{1:?} 13:0}
/v1/actual_lrps/fail
>  1:{1:"web" 3:"apps"} 2:"insufficient resources"
<
/v1/actual_lrps/claim
>  1:"web" 3:{1:"i1" 2:"c1"}
<
/v1/actual_lrps/claim
>  1:"web" 3:{1:"i2" 2:"c2"}
<  1:{1:15 2:"cannot claim actual LRP"}
/v1/actual_lrps/list_by_process_guids
>  1:"web" 1:"other"
<  2:{1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:{} 6:"CLAIMED" 8:? 9:{1:? 2:2} 13:0}

it runs, also for a cell from before there were internal routes
/v1/actual_lrps/start
>  1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:{1:"10.0.0.1"} 4:{1:"a.internal"} 5:{1:"k" 2:"v"}
<
/v1/actual_lrp_groups/list
>  1:"apps" 2:"c1"
<  2:{1:{1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:{1:"10.0.0.1"} 6:"RUNNING" 8:? 9:{1:? 2:3} 13:1}}
/v1/actual_lrps/start.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:{1:"10.0.0.1" 2:{1:8080 2:61001} 4:2} 4:{1:"a.internal"}
      5:{1:"k" 2:"v"} 6:0 7:"z1"
<
/v1/actual_lrp_groups/list_by_process_guid
>  1:"web"
<  2:{1:{1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:{1:"10.0.0.1" 2:{1:8080 2:61001} 4:2} 6:"RUNNING" 8:?
      9:{1:? 2:4} 11:{1:"a.internal"} 12:{1:"k" 2:"v"} 13:0 14:"z1"}}

it crashes and is started again at once
/v1/actual_lrps/crash
>  1:{1:"web" 3:"apps"} 2:{1:"i1" 2:"c1"} 3:"exit 1"
<
/v1/actual_lrp_groups/get_by_process_guid_and_index
>  1:"web"
<  2:{1:{1:{1:"web" 3:"apps"} 2:{} 3:{} 4:1 5:"exit 1" 6:"UNCLAIMED" 8:? 9:{1:? 2:5} 11:{1:"a.internal"}
      12:{1:"k" 2:"v"} 13:0 14:"z1"}}

evacuated before it runs
/v1/actual_lrps/claim
>  1:"web" 3:{1:"i3" 2:"c1"}
<
/v1/actual_lrps/evacuate_claimed
>  1:{1:"web" 3:"apps"} 2:{1:"i3" 2:"c1"}
<
/v1/actual_lrps/evacuate_claimed
>  1:{1:"web" 3:"apps"} 2:{1:"i3" 2:"c1"}
<  1:{1:13 2:"the requested resource could not be found"}

evacuated while it runs, in both forms of the call; its presence then goes
/v1/actual_lrps/start.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"} 3:{1:"10.0.0.1"} 6:1
<
/v1/actual_lrps/evacuate_running
>  1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"} 3:{1:"10.0.0.1"} 5:{1:"a.internal"} 6:{1:"k" 2:"v"} 7:1
<  2:1
/v1/actual_lrps/evacuate_running.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"} 3:{1:"10.0.0.1"} 5:{1:"b.internal"} 6:{1:"k" 2:"v"} 7:1 8:"z1"
<  2:1
/v1/actual_lrps/list
>  2:"c1"
<  2:{1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"} 3:{1:"10.0.0.1"} 6:"RUNNING" 8:? 9:{1:? 2:1} 10:1
      11:{1:"b.internal"} 12:{1:"k" 2:"v"} 13:1 14:"z1"}
/v1/actual_lrps/remove_evacuating
>  1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"}
<
/v1/actual_lrps/remove_evacuating
>  1:{1:"web" 3:"apps"} 2:{1:"i4" 2:"c1"}
<  1:{1:13 2:"the requested resource could not be found"}

evacuated after it crashed, and after it was stopped
/v1/actual_lrps/start.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i5" 2:"c1"} 3:{1:"10.0.0.1"}
<
/v1/actual_lrps/evacuate_crashed
>  1:{1:"web" 3:"apps"} 2:{1:"i5" 2:"c1"} 3:"exit 2"
<
/v1/actual_lrps/start.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i6" 2:"c1"} 3:{1:"10.0.0.1"}
<
/v1/actual_lrps/evacuate_stopped
>  1:{1:"web" 3:"apps"} 2:{1:"i6" 2:"c1"}
<

what runs is removed by its cell; what waits is retired; then the process goes
/v1/actual_lrps/start.r1
>  1:{1:"web" 3:"apps"} 2:{1:"i7" 2:"c1"} 3:{1:"10.0.0.1"}
<
/v1/actual_lrps/remove
>  1:"web" 3:{1:"i7" 2:"c1"}
<
/v1/desired_lrp/update
>  1:"web" 2:{1:2}
<
/v1/actual_lrps/retire
>  1:{1:"web" 2:1 3:"apps"}
<
/v1/desired_lrp/remove
>  1:"web"
<
/v1/desired_lrps/list.r3
<

a task with a shared image layer is cancelled
/v1/tasks/desire.r2
>  1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}} 25:{1:"n" 2:"http://l" 3:"/" 4:1 5:1}} 2:"t1" 3:"apps"
<
/v1/tasks/list.r3
>  1:"apps"
<  2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}} 25:{1:"n" 2:"http://l" 3:"/" 4:1 5:1}} 2:"t1" 3:"apps"
      4:? 5:? 7:1}
/v1/tasks/list.r2
<  2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}} 15:{1:"n" 2:"http://l" 3:"/" 4:"http://l"}} 2:"t1"
      3:"apps" 4:? 5:? 7:1}
/v1/tasks/get_by_task_guid.r2
>  1:"t1"
<  2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}} 15:{1:"n" 2:"http://l" 3:"/" 4:"http://l"}} 2:"t1"
      3:"apps" 4:? 5:? 7:1}
/v1/tasks/start
>  1:"t1" 2:"c1"
<  2:1
/v1/tasks/start
>  1:"t1" 2:"c1"
<
/v1/tasks/cancel
>  1:"t1"
<
/v1/tasks/get_by_task_guid.r3
>  1:"t1"
<  2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}} 25:{1:"n" 2:"http://l" 3:"/" 4:1 5:1}} 2:"t1" 3:"apps"
      4:? 5:? 6:? 7:3 10:1 11:"task was cancelled"}
/v1/tasks/delete
>  1:"t1"
<  1:{1:9 2:"Cannot transition from Completed to Resolving"}
/v1/tasks/resolving
>  1:"t1"
<
/v1/tasks/delete
>  1:"t1"
<
/v1/tasks/get_by_task_guid.r3
>  1:"t1"
<  1:{1:13 2:"the requested resource could not be found"}

one is refused by its cell, runs and ends; one fails
/v1/tasks/desire.r2
>  1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}}} 2:"t2" 3:"apps"
<
/v1/tasks/reject
>  1:"t2" 2:"no room"
<
/v1/tasks/start
>  1:"t2" 2:"c1"
<  2:1
/v1/tasks/complete
>  1:"t2" 2:"c2" 5:"42"
<  1:{1:24 2:"Running on cell c1 not c2"}
/v1/tasks/complete
>  1:"t2" 2:"c1" 5:"42"
<
/v1/tasks/desire.r2
>  1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}}} 2:"t3" 3:"apps"
<
/v1/tasks/fail
>  1:"t3" 2:"gone"
<
/v1/tasks/list.r3
<  2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}}} 2:"t2" 3:"apps" 4:? 5:? 6:? 7:3 9:"42" 12:1
      13:"no room"}
   2:{1:{1:"docker:///job" 3:{3:{1:"/job" 6:"vcap"}}} 2:"t3" 3:"apps" 4:? 5:? 6:? 7:3 10:1 11:"gone"}
"""


@pytest.fixture(params=["plain HTTP", "mutual TLS"])
def over(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True)
class Step:
    """One call, with what the story said before it."""

    about: str
    path: str
    asked: str
    answered: str
    refused: str


def steps(story: str) -> list[Step]:
    found: list[Step] = []
    about = path = asked = answered = refused = ""
    part = "about"

    def finish() -> None:
        if path:
            found.append(Step(about, path, asked, answered, refused))

    for line in story.splitlines():
        match line[:1]:
            case "":
                continue
            case "/":
                finish()
                path, asked, answered, refused, part = line, "", "", "", "path"
            case ">":
                asked, part = line[1:], "asked"
            case "<":
                answered, part = line[1:], "answered"
            case "!":
                refused = line[1:].strip()
            case " " if part == "asked":
                asked += line
            case " " if part == "answered":
                answered += line
            case _:
                finish()
                about, path = line, ""
    finish()
    return found


@pytest.fixture
def notation() -> Notation:
    return Notation()


def test_the_story_calls_every_route() -> None:
    assert {("POST", step.path) for step in steps(STORY)} == route_table("bbs")


async def test_the_bbs_has_the_routes_of_the_table_and_no_others(world: World) -> None:
    assert served_routes(world.bbs.app) == route_table("bbs") | route_table("bbs-events")


async def test_every_call_is_answered_as_the_tables_say(world: World, http: Http, notation: Notation) -> None:
    await world.register("c1")
    said, expected = [], []
    for step in steps(STORY):
        async with http.post(step.path, data=notation.encode(step.asked)) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-protobuf")
            data = await answer.read()
            assert answer.headers["Content-Length"] == str(len(data))
        said.append((step.about, step.path, notation.rendered(data, step.answered)))
        expected.append((step.about, step.path, notation.tidied(step.answered)))
    assert said == expected


LRP_EVENTS = {"desired_lrp_created", "desired_lrp_changed", "desired_lrp_removed", "actual_lrp_crashed"}
INSTANCE_EVENTS = LRP_EVENTS | {f"actual_lrp_instance_{what}" for what in ("created", "changed", "removed")}
GROUP_EVENTS = LRP_EVENTS | {f"actual_lrp_{what}" for what in ("created", "changed", "removed")}
TASK_EVENTS = {f"task_{what}" for what in ("created", "changed", "removed")}

STREAMS = {
    ("GET", "/v1/events.r1"): GROUP_EVENTS,
    ("GET", "/v1/events"): GROUP_EVENTS,
    ("POST", "/v1/events/lrp_instances.r1"): INSTANCE_EVENTS,
    ("POST", "/v1/events/lrp_instances"): INSTANCE_EVENTS,
    ("POST", "/v1/events/tasks.r1"): TASK_EVENTS,
    ("POST", "/v1/events/tasks"): TASK_EVENTS,
}
RECORD = re.compile(rb"id: (\d+)\nevent: ([a-z_]+)\ndata: ([A-Za-z0-9+/]+={0,2})\n\n")


async def test_every_stream_carries_each_of_its_events_and_no_others(
    world: World, http: Http, notation: Notation
) -> None:
    assert STREAMS.keys() == route_table("bbs-events")
    await world.register("c1")
    async with AsyncExitStack() as stack:
        answers = [
            await stack.enter_async_context(http.request(method, path, data=b"")) for method, path in STREAMS
        ]
        for step in steps(STORY):
            async with http.post(step.path, data=notation.encode(step.asked)) as answer:
                assert answer.status == 200
        await world.bbs.settled()
        world.bbs.hub.close()
        for answer, events in zip(answers, STREAMS.values(), strict=True):
            assert (answer.status, answer.headers["Content-Type"]) == (
                200,
                "text/event-stream; charset=utf-8",
            )
            text = await answer.read()
            records = RECORD.findall(text)
            assert b"".join(b"id: %s\nevent: %s\ndata: %s\n\n" % record for record in records) == text
            assert [int(number) for number, _, _ in records] == list(range(len(records)))
            assert {name.decode() for _, name, _ in records} == events


LOCKET_STORY = """
a lock is taken, is another's, is told
/models.Locket/Lock
>  1:{1:"bbs" 2:"o1" 3:"v" 5:1} 2:15
<
/models.Locket/Lock
>  1:{1:"bbs" 2:"o2" 3:"v" 5:1} 2:15
!  ALREADY_EXISTS lock-collision
/models.Locket/Fetch
>  1:"bbs"
<  1:{1:"bbs" 2:"o1" 3:"v" 4:"lock" 5:1}

a presence by the old type, beside it
/models.Locket/Lock
>  1:{1:"c1" 2:"o1" 3:"{}" 4:"presence" 5:2} 2:15
<
/models.Locket/FetchAll
>  2:2
<  1:{1:"c1" 2:"o1" 3:"{}" 4:"presence" 5:2}
/models.Locket/FetchAll
>  1:"lock"
!  NOT_FOUND invalid-type

given back
/models.Locket/Release
>  1:{1:"bbs" 2:"o1"}
<
/models.Locket/Fetch
>  1:"bbs"
!  NOT_FOUND resource-not-found
"""


async def test_every_method_of_locket(world: World, notation: Notation) -> None:
    story = steps(LOCKET_STORY)
    assert {("CALL", step.path) for step in story} == route_table("locket")
    async with (
        world.bbs.locket_server("127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        said, expected = [], []
        for step in story:
            call = channel.unary_unary(step.path, request_serializer=None, response_deserializer=None)
            try:
                data = await call(notation.encode(step.asked), timeout=10)
            except grpc.aio.AioRpcError as error:
                said.append((step.about, f"! {error.code().name} {error.details()}"))
            else:
                said.append((step.about, notation.rendered(data, step.answered)))
            refused = f"! {step.refused}" if step.refused else notation.tidied(step.answered)
            expected.append((step.about, refused))
    assert said == expected
