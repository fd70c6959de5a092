"""Commands beyond those of cfdot."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.models.events import ActualLRPCrashedEvent, Event, TaskChangedEvent, TaskCreatedEvent
from bbs.models.task import Task
from bbs.wire.proto.actual_lrp_pb2 import ActualLRP
from bbs.wire.proto.actual_lrp_requests_pb2 import ActualLRPsResponse, RetireActualLRPRequest
from bbs.wire.proto.cell_pb2 import CellPresence, CellsResponse
from bbs.wire.proto.desired_lrp_pb2 import DesiredLRP
from bbs.wire.proto.desired_lrp_requests_pb2 import DesiredLRPResponse, DesireLRPRequest
from bbs.wire.proto.domain_pb2 import DomainsResponse
from bbs.wire.proto.error_pb2 import Error
from bbs.wire.proto.task_pb2 import Task as TaskOnTheWire
from bbs.wire.proto.task_requests_pb2 import TaskResponse
from bbs.wire.sse import LRP_INSTANCE_EVENTS, TASK_EVENTS, encode_event, number_record
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.unit.cell.conftest import ScriptedBBS, Shell

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES
RUN = {"run": {"path": "/bin/true", "user": "vcap"}}
LRP = {"process_guid": "web", "domain": "d", "rootfs": "preloaded:busybox", "instances": 2, "action": RUN}
TASK = {"task_guid": "t", "domain": "d", "rootfs": "preloaded:busybox", "action": RUN}


def _chunks(*events: Event) -> bytes:
    records = [number_record(number, encode_event(event)) for number, event in enumerate(events)]
    return b"".join(f"{len(record):x};\r\n".encode() + record + b"\r\n" for record in records)


def test_a_document_of_2015(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(b"")
    document = GOLDEN / "documents" / "desired_lrp_2015.json"
    ended = shell("desire", str(document), "--bbs-url", bbs.url)
    assert (ended.status, ended.stdout) == (0, "")
    sent = DesireLRPRequest.FromString(bbs.asked[0].body).desired_lrp
    assert sent.process_guid == json.loads(document.read_text())["process_guid"]


def test_a_document_on_standard_input(
    bbs: ScriptedBBS, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    bbs.answer(b"")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(LRP).encode())))
    ended = shell("desire", "-", "--bbs-url", bbs.url, "--table")
    assert (ended.status, ended.stdout) == (0, "web is desired: 2 instance(s)\n")


@pytest.mark.parametrize(
    ("command", "document", "complaint"),
    [
        ("desire", {**LRP, "ports": ["x"]}, "$.ports[0]: expected a whole number from 0 to 4294967295, got"),
        (
            "desire",
            {"process_guid": "web"},
            "$.domain: expected a value (this field is required), got nothing",
        ),
        ("desire", {}, "$: expected an action (a key such as run), a Task (task_guid) or a DesiredLRP"),
        ("desire", TASK, "is a Task, not a DesiredLRP; try `cell task`"),
        ("desire", RUN, "is an action alone, not a DesiredLRP; try `cell run`"),
        ("task", LRP, "is a DesiredLRP, not a Task; try `cell desire`"),
        ("task", {**TASK, "task_guid": ""}, "$.task_guid: expected a value (this field is required)"),
        ("task", {**TASK, "domain": None}, "$.domain: expected a value (this field is required)"),
        (
            "task",
            {**TASK, "action": {"run": {"path": 5}}},
            "$.action.run.path: expected a string, got the number 5",
        ),
    ],
)
def test_the_offending_field_is_named(
    command: str, document: object, complaint: str, bbs: ScriptedBBS, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "document.json"
    file.write_text(json.dumps(document))
    ended = shell(command, str(file), "--bbs-url", bbs.url)
    assert (ended.status, bbs.asked) == (3, [])
    assert ended.stderr.startswith(f"Error: {file}")
    assert complaint in ended.stderr


def test_a_file_that_is_not_there(bbs: ScriptedBBS, shell: Shell) -> None:
    ended = shell("task", "/no/such.json", "--bbs-url", bbs.url)
    assert (ended.status, ended.stderr) == (
        3,
        "Error: /no/such.json cannot be read: No such file or directory\n",
    )


def test_all_instances_are_stopped_once_each(bbs: ScriptedBBS, shell: Shell) -> None:
    rows = ActualLRPsResponse()
    for index, presence in ((1, "ORDINARY"), (0, "ORDINARY"), (1, "EVACUATING")):
        row = ActualLRP(presence=presence)
        row.actual_lrp_key.process_guid, row.actual_lrp_key.index = "web", index
        rows.actual_lrps.append(row)
    bbs.answer(DesiredLRPResponse(desired_lrp=DesiredLRP(process_guid="web", domain="d")))
    bbs.answer(rows)
    bbs.answer(b"")
    bbs.answer(b"")
    ended = shell("stop", "web", "--bbs-url", bbs.url, "--table")
    assert ended.lines == ["web/0 is asked to stop", "web/1 is asked to stop"]
    keys = [RetireActualLRPRequest.FromString(asked.body).actual_lrp_key for asked in bbs.asked[2:]]
    assert [(key.process_guid, key.index, key.domain) for key in keys] == [("web", 0, "d"), ("web", 1, "d")]


@pytest.mark.parametrize("words", [["0"], ["-i", "0"], ["--index", "0"], ["0", "-i", "0"]])
def test_one_instance_is_named_in_both_forms(words: list[str], bbs: ScriptedBBS, shell: Shell) -> None:
    """`cell stop G -i 0` as `cell lrps G -i 0`, and `cell stop G 0`."""
    bbs.answer(DesiredLRPResponse(desired_lrp=DesiredLRP(process_guid="web", domain="d")))
    bbs.answer(b"")
    ended = shell("stop", "web", *words, "--bbs-url", bbs.url, "--table")
    assert (ended.status, ended.lines) == (0, ["web/0 is asked to stop"])
    assert RetireActualLRPRequest.FromString(bbs.asked[1].body).actual_lrp_key.index == 0


def test_a_task_is_stopped_with_its_flag(bbs: ScriptedBBS, shell: Shell) -> None:
    """`cell stop TASK` says that --task is missing."""
    missing = Error(type="ResourceNotFound", message="the requested resource could not be found")
    bbs.answer(DesiredLRPResponse(error=missing))
    bbs.answer(TaskResponse(task=TaskOnTheWire(task_guid="build-17")))
    ended = shell("stop", "build-17", "--bbs-url", bbs.url, "--table")
    assert (ended.status, ended.stderr) == (
        3,
        "Error: build-17 is a Task: cancel it with `cell stop --task build-17`\n",
    )


def test_nothing_of_that_name_can_be_stopped(bbs: ScriptedBBS, shell: Shell) -> None:
    missing = Error(type="ResourceNotFound", message="the requested resource could not be found")
    bbs.answer(DesiredLRPResponse(error=missing))
    bbs.answer(TaskResponse(error=missing))
    ended = shell("stop", "web", "--bbs-url", bbs.url, "--table")
    assert ended.status == 4
    assert "ResourceNotFound" in ended.stderr


def test_an_error_of_the_bbs_in_its_own_words(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(DomainsResponse(error=Error(type="Deadlock", message="again")))
    ended = shell("domains", "--bbs-url", bbs.url)
    assert (ended.status, ended.stdout) == (4, "")
    assert ended.stderr == "Error: BBS error\nType 28: Deadlock\nMessage: again\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lrps", "--desired", "-c", "cell-1"], "--cell and --index choose instances"),
        (["lrps", "-i", "-1"], "'-1' is not an index"),
        (["lrps", "web", "-i", "x"], "'x' is not an index: expected a whole number of 0 or more"),
        (["scale", "web", "-1"], "No such option '-1'"),
        (["scale", "web", "2147483648"], "'2147483648' is not a number of instances"),
        (["stop", "--task", "t", "0"], "a Task has no INDEX"),
        (["stop", "--task", "t", "-i", "0"], "a Task has no INDEX"),
        (["stop", "web", "1", "-i", "0"], "INDEX is given twice: 1 and --index 0"),
        (["domains", "--ttl", "1m"], "--ttl goes with --set DOMAIN"),
        (["domains", "--set", "d", "--ttl", "1"], "missing unit in duration '1'; expected one such as 30s"),
        (["domains", "--set", "d", "--ttl", "-1s"], "duration '-1s' is negative"),
        (["domains", "--set", "d", "--ttl=-1s"], "duration '-1s' is negative"),
        (["events", "--lrps", "--tasks"], "not allowed with argument"),
        (["cells", "--json", "--table"], "not allowed with argument"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], complaint: str, bbs: ScriptedBBS, shell: Shell
) -> None:
    ended = shell(*arguments, "--bbs-url", bbs.url)
    assert (ended.status, bbs.asked) == (3, [])
    assert complaint in ended.stderr


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"[]", "answered 200 without a state"),
        (b"oops", "answered 200: $: expected JSON"),
        (b'{"AvailableResources":3}', "answered 200: $.AvailableResources: expected"),
        (b'{"LRPs":[7]}', "answered 200: $.LRPs[0]: expected"),
        (b"[" * 100_000, "answered 200: $: expected a document of sane depth"),
    ],
)
def test_a_rep_that_answers_nonsense(body: bytes, complaint: str, bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(CellsResponse(cells=[CellPresence(cell_id="c", rep_url=bbs.url)]))
    bbs.answer(body, "text/plain")
    ended = shell("cells", "--state", "--bbs-url", bbs.url)
    assert ended.status == 4
    assert ended.stderr.startswith(f"Error: cell c: {bbs.url}/state {complaint}")


def test_a_state_with_nothing_in_it_is_shown(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(CellsResponse(cells=[CellPresence(cell_id="c", rep_url=bbs.url)]))
    bbs.answer(b"{}", "text/plain")
    ended = shell("cells", "--state", "--table", "--bbs-url", bbs.url)
    assert (ended.status, ended.lines[1].split()) == (0, ["-", "-", *["0/0"] * 3, *"000", "no"])


@pytest.mark.parametrize(
    ("rep_url", "complaint"),
    [
        ("http://127.0.0.1:99999", "not a URL: Port out of range"),
        ("http://[::1", "not a URL: Invalid IPv6 URL"),
        ("http://127.0.0.1:x", "not a URL: "),
        ("", "not an http or https URL with a host"),
        ("nonsense", "not an http or https URL with a host"),
        ("ftp://127.0.0.1", "not an http or https URL with a host"),
        (f"http://{'a' * 300}", "cannot be the name of a host"),
        ("http://a..b", "cannot be the name of a host"),
        ("{bbs}/a b", "Illegal target characters"),
        ("{bbs}/\r\nX: y", "Illegal"),
    ],
)
def test_a_rep_whose_url_is_none(rep_url: str, complaint: str, bbs: ScriptedBBS, shell: Shell) -> None:
    """A BBS may name any text as the URL of a rep: the command ends with a line, not with a trace."""
    url = rep_url.replace("{bbs}", bbs.url)
    bbs.answer(CellsResponse(cells=[CellPresence(cell_id="c", rep_url=url)]))
    ended = shell("cells", "--state", "--bbs-url", bbs.url)
    assert ended.status == 4
    assert ended.stderr.startswith("Error: cell c: ")
    assert complaint in ended.stderr


def test_a_rep_that_does_not_answer(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(CellsResponse(cells=[CellPresence(cell_id="c", rep_url="http://127.0.0.1:1")]))
    ended = shell("cells", "--state", "--bbs-url", bbs.url)
    assert ended.status == 4
    assert ended.stderr.startswith("Error: cell c: http://127.0.0.1:1/state: ConnectionRefusedError")


TASK_EVENTS_OF_TWO_CELLS = (
    TaskCreatedEvent(task=Task(task_guid="elsewhere")),
    TaskChangedEvent(before=Task(task_guid="mine"), after=Task(task_guid="mine", cell_id="cell-1")),
    TaskChangedEvent(before=Task(task_guid="mine", cell_id="cell-1"), after=Task(task_guid="mine")),
    TaskChangedEvent(before=Task(task_guid="other"), after=Task(task_guid="other", cell_id="cell-2")),
)


def test_both_streams_and_only_one_cell(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.stream(LRP_INSTANCE_EVENTS.path, _chunks(ActualLRPCrashedEvent(crash_count=1)))
    bbs.stream(TASK_EVENTS.path, _chunks(*TASK_EVENTS_OF_TWO_CELLS))
    ended = shell("events", "--cell", "cell-1", "--bbs-url", bbs.url)
    events = [json.loads(line) for line in ended.lines]
    assert sorted(event["type"] for event in events) == ["actual_lrp_crashed", "task_changed", "task_changed"]
    assert {e["data"]["after"]["task_guid"] for e in events if e["type"] == "task_changed"} == {"mine"}
    assert {asked.path: asked.body for asked in bbs.asked} == {
        LRP_INSTANCE_EVENTS.path: b"\x0a\x06cell-1",
        TASK_EVENTS.path: b"",
    }
    assert ended.stderr == f"following {bbs.url}; Ctrl-C ends it\nthe BBS ended the stream\n"


def test_trouble_with_the_stream_is_told(bbs: ScriptedBBS, shell: Shell) -> None:
    bbs.answer(b"", "text/plain", status=503)
    bbs.answer(b"", "text/event-stream; charset=utf-8")
    ended = shell("events", "--tasks", "--bbs-url", bbs.url)
    assert ended.status == 0
    assert ended.stderr.splitlines()[0] == (
        "event-stream-connect-failed-retrying: _NotReadyError: "
        f"{bbs.url}/v1/events/tasks.r1: Invalid Response with status code: 503"
    )


def _command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cell", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_ends_events_well(bbs: ScriptedBBS) -> None:
    bbs.hold(LRP_INSTANCE_EVENTS.path, _chunks(ActualLRPCrashedEvent(crash_count=1)))
    with _command("events", "--lrps", "--bbs-url", bbs.url) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "actual_lrp_crashed"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, f"following {bbs.url}; Ctrl-C ends it\n")


def test_a_reader_that_has_seen_enough(bbs: ScriptedBBS) -> None:
    bbs.answer(DomainsResponse(domains=["d"]))
    with _command("domains", "--bbs-url", bbs.url) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
    assert (process.returncode, stderr) == (0, "")
