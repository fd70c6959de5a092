"""Views for programs: JSON lines, the trace, the JUnit report; reading for ``cell explain``."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from cell.errors import BadInput
from cell.main import main
from cell.runner.encoding import UnknownEvent, from_json, to_json
from cell.runner.events import EngineCalled, EventRecorder, LogWritten, RunEvent, Warned
from cell.runner.explaining import explanation, read_trace
from cell.runner.views.junit import JunitView
from cell.runner.views.streams import JsonLinesView
from cell.runner.views.trace import TraceView, trace_document
from tests.support.run_scripts import Script, failed_run

pytestmark = pytest.mark.unit


def _shown(events: list[RunEvent]) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, highlight=False)
    for part in explanation(events):
        console.print(part)
    return out.getvalue()


def test_every_event_is_one_json_line() -> None:
    out = io.StringIO()
    view = JsonLinesView(out)
    for event in failed_run().events:
        view.take(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == len(failed_run().events)
    assert {line["guid"] for line in lines} == {"run-0"}
    (error,) = [line for line in lines if line["event"] == "log_written" and line["stream"] == "ERR"]
    assert (error["source"], error["text"]) == ("APP", "all is lost")
    assert lines[-1]["event"] == "run_ended"
    assert lines[-1]["exit_code"] == 1


def test_events_come_back_from_json_as_they_were() -> None:
    events = [
        *failed_run().events,
        EngineCalled(time_ns=1, seconds=0.5, call="create container", error="no"),
        Warned(time_ns=2, text="careful"),
    ]
    for event in events:
        again = from_json(json.loads(json.dumps(to_json(event))))
        if isinstance(event, LogWritten):
            assert again is None
        else:
            assert again is not None
            assert to_json(again) == to_json(event)


@pytest.mark.parametrize(
    "value",
    [3, {}, {"event": "dance"}, {"event": "step_ended", "path": "x"}, {"event": "step_ended", "outcome": 3}],
)
def test_what_is_no_event_is_refused(value: object) -> None:
    with pytest.raises(UnknownEvent):
        from_json(value)


def _spans(document: dict[str, Any], category: str) -> list[dict[str, Any]]:
    return [entry for entry in document["traceEvents"] if entry.get("cat") == category]


def test_the_trace_has_what_the_format_asks_for() -> None:
    document = json.loads(json.dumps(trace_document(failed_run().events)))
    assert document["displayTimeUnit"] in ("ms", "ns")
    for entry in document["traceEvents"]:
        assert isinstance(entry["name"], str)
        assert isinstance(entry["pid"], int)
        assert isinstance(entry["tid"], int)
        assert isinstance(entry["ts"], int | float)
        match entry["ph"]:
            case "X":
                assert entry["dur"] >= 0
            case "i":
                assert entry["s"] in ("g", "p", "t")
            case "M":
                assert entry["name"] in ("process_name", "thread_name")
                assert isinstance(entry["args"]["name"], str)
            case other:
                pytest.fail(f"unexpected phase {other}")


def test_steps_of_one_track_nest() -> None:
    tracks: dict[int, list[dict[str, Any]]] = {}
    for span in _spans(trace_document(failed_run().events), "step"):
        tracks.setdefault(span["tid"], []).append(span)
    for spans in tracks.values():
        for one in spans:
            for other in spans:
                first, second = sorted((one, other), key=lambda span: (span["ts"], -span["dur"]))
                apart = first["ts"] + first["dur"] <= second["ts"]
                inside = second["ts"] + second["dur"] <= first["ts"] + first["dur"]
                assert apart or inside


def test_what_runs_side_by_side_has_tracks_of_its_own() -> None:
    tracks = {
        span["args"]["path"]: span["tid"] for span in _spans(trace_document(failed_run().events), "step")
    }
    assert tracks["action/serial[2]/parallel[0]/run"] != tracks["action/serial[2]/parallel[1]/run"]
    assert (
        tracks["action/serial[0]/download"] == tracks["action/serial"] == tracks["action/serial[1]/try/run"]
    )


def test_a_failed_step_says_why_in_the_trace() -> None:
    (span,) = [
        span
        for span in _spans(trace_document(failed_run().events), "step")
        if span["args"]["path"] == "action/serial[2]/parallel[1]/run"
    ]
    assert span["args"] | {"outcome": "failed", "exit_status": 4, "cause": "a bug"} == span["args"]


def test_the_states_of_the_container_follow_each_other() -> None:
    spans = _spans(trace_document(failed_run().events), "container")
    assert [span["name"] for span in spans] == ["reserved", "initializing", "running", "completed"]
    for before, after in pairwise(spans):
        assert before["ts"] + before["dur"] == pytest.approx(after["ts"])


def _traced(path: Path) -> Path:
    view = TraceView(path)
    for event in failed_run().events:
        view.take(event)
    view.close()
    return path


def test_a_trace_is_explained_the_failing_step_first(tmp_path: Path) -> None:
    text = _shown(read_trace(str(_traced(tmp_path / "t.json"))))
    first, *rest = text.splitlines()
    assert first == "✗ action/serial[2]/parallel[1]/run failed after 0.04s"
    assert "  step    /bin/test" in rest
    assert "  reason  TEST: Exited with status 4" in rest
    assert "  cause   a bug" in rest
    assert "failed in 1.50s  run-0" in text
    (upload,) = [line for line in rest if "upload" in line]
    assert "·" in upload


def test_json_lines_are_explained_too(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with path.open("w") as out:
        view = JsonLinesView(out)
        for event in failed_run().events:
            view.take(event)
    assert "action/serial[2]/parallel[1]/run failed" in _shown(read_trace(str(path)))


def test_a_trace_that_breaks_off_is_explained_as_far_as_it_goes() -> None:
    text = _shown(failed_run().events[:6])
    assert text.startswith("the trace ends before the end of the run")
    assert "▶ download" in text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"traceEvents": []}', '{"runEvents": [{"event": "x"}]}']
)
def test_what_is_no_trace_is_bad_input(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"t\.json"):
        read_trace(str(path))
    assert main(["explain", str(path)]) == 2
    assert capsys.readouterr().err.startswith("cell explain: ")


def _report(story: Any, path: Path) -> ET.Element:
    view = JunitView(path)
    for event in story.events:
        view.take(event)
    view.close()
    (suite,) = ET.parse(path).getroot().findall("testsuite")
    return suite


def test_the_junit_report(tmp_path: Path) -> None:
    suite = _report(failed_run(), tmp_path / "j.xml")
    kinds = {
        case.attrib["name"]: next((part.tag for part in case), "passed") for case in suite.findall("testcase")
    }
    assert kinds == {
        "action/serial[0]/download": "passed",
        "action/serial[1]/try/run": "skipped",
        "action/serial[2]/parallel[0]/run": "passed",
        "action/serial[2]/parallel[1]/run": "failure",
        "action/serial[3]/upload": "skipped",
    }
    counts = {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "0", "skipped": "2"}
    output = suite.findtext("system-out")
    assert output is not None
    assert "[APP] <made> it\ufffd[0m" in output


def test_what_no_step_failed_with_is_an_error_of_the_run(tmp_path: Path) -> None:
    story = Script(failed_run().events[0].tree[0].action).over(
        2, reason="failed to create container: no image"
    )
    suite = _report(story, tmp_path / "j.xml")
    (error,) = suite.iter("error")
    assert error.attrib["message"] == "failed to create container: no image"
    assert suite.attrib["errors"] == "1"


def test_a_report_that_cannot_be_written_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    story = EventRecorder([TraceView(tmp_path / "none" / "t.json"), JunitView(tmp_path / "j.xml")])
    for event in failed_run().events:
        story.record(event)
    (problem,) = story.close()
    assert "t.json" in problem
    assert (tmp_path / "j.xml").exists()
