"""Views for people: the live tree, plain lines, the dry run."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bbs.models.actions import ParallelAction, RunAction
from cell.runner.document import read_runnable
from cell.runner.events import EngineProgress, ResultRead, Warned
from cell.runner.options import Options, RequestedPort
from cell.runner.request import make_order
from cell.runner.views.dryrun import dry_run_lines
from cell.runner.views.live import LiveView
from cell.runner.views.picture import format_seconds, picture
from cell.runner.views.streams import PlainView
from tests.support.run_scripts import Script, failed_run

pytestmark = pytest.mark.unit

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _console(**more: Any) -> Console:
    return Console(file=io.StringIO(), width=80, height=24, **more)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_one_line_per_step_within_80_columns() -> None:
    console = _console()
    console.print(picture(failed_run().tree, failed_run().now_ns))
    head, *lines = _text(console).splitlines()
    assert head.startswith("action  failed in 1.50s  run-0  127.0.0.1:61001 -> 8080")
    assert len(lines) == len(list(failed_run().tree)) == 8
    assert all(len(line) <= 80 for line in [head, *lines])
    assert [line.split()[0] for line in lines] == list("✗✓✓✗✗✓✗·")
    assert "2K" in lines[1]
    assert "\x1b" not in _text(console)  # an app must not command the terminal
    assert "TEST: Exited with" in lines[6]


def test_a_download_under_way_has_a_bar() -> None:
    story = failed_run()
    del story.events[6:]
    console = _console()
    console.print(picture(story.tree, story.now_ns))
    (line,) = [line for line in _text(console).splitlines() if "download" in line]
    assert "━" in line
    assert "512B" in line


def test_where_there_is_no_room_what_failed_and_runs_is_shown() -> None:
    run = RunAction(path="/bin/true", user="vcap")
    paths = [f"action/parallel[{index}]/run" for index in range(40)]
    story = Script(ParallelAction(actions=(run,) * 40)).start("action/parallel", *paths)
    for path in paths[:38]:
        story.end(path)
    story.fail(paths[38], "broken")
    console = _console()
    console.print(picture(story.tree, story.now_ns, max_rows=5))
    text = _text(console)
    assert "broken" in text
    assert "▶ run" in text
    assert "and 36 more steps" in text


def test_the_live_picture_never_grows_beyond_the_screen() -> None:
    run = RunAction(path="/bin/true", user="vcap")
    paths = [f"action/parallel[{index}]/run" for index in range(40)]
    story = Script(ParallelAction(actions=(run,) * 40)).start("action/parallel", *paths)
    for number in range(100):
        story.log(f"line {number} {'x' * 200}")
    console = _console(force_terminal=True, no_color=True)
    view = LiveView(console)
    for event in story.events:
        view.take(event)
    drawn = console.render_lines(view._drawing(), pad=False)
    view.close()
    assert len(drawn) < 24
    assert "line 99" in "".join(segment.text for segment in drawn[-1])


def test_when_it_is_over_the_tree_stands_above_all_log_lines() -> None:
    console = _console(force_terminal=True, no_color=True)
    view = LiveView(console)
    for event in failed_run().events:
        view.take(event)
        view.refresh()
    view.close()
    final = ESCAPES.sub("", _text(console)).rpartition("action  failed in 1.50s")[2]
    tree, _, log = final.partition("upload")
    assert "parallel" in tree
    assert [line for line in log.splitlines() if line.startswith("[")] == [
        "[APP] all is lost",
        "[APP] <made> it",
        "[TEST] 1 test failed",
    ]


def test_no_colours_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = _console(force_terminal=True)
    console.print(picture(failed_run().tree, failed_run().now_ns))
    assert "\x1b[31m" not in _text(console)
    assert "\x1b[1;31m" not in _text(console)


def test_plain_lines_have_their_source_and_notes_go_elsewhere() -> None:
    out, told = io.StringIO(), io.StringIO()
    view = PlainView(out, told)
    extra = [
        EngineProgress(time_ns=0, text="pulling image x"),
        Warned(time_ns=0, text="two\nlines"),
        ResultRead(time_ns=0, text="42\n"),
    ]
    for event in [*failed_run().events, *extra]:
        view.take(event)
    view.close()
    assert out.getvalue().splitlines() == [
        "[APP] ERR all is lost",
        "[APP] OUT <made> it\x1b[0m",
        "[TEST] OUT 1 test failed",
        "[RESULT] 42",
    ]
    assert told.getvalue().splitlines() == [
        "cell run: port 8080 is at 127.0.0.1:61001",
        "cell run: pulling image x",
        "cell run: warning: two lines",
    ]


def test_a_dry_run_says_what_every_step_gets(tmp_path: Path) -> None:
    document = {
        "process_guid": "web",
        "domain": "d",
        "rootfs": "preloaded:busybox",
        "memory_mb": 32,
        "max_pids": 10,
        "ports": [8080],
        "cached_dependencies": [{"name": "jre", "from": "http://x/jre.tgz", "to": "/jre", "cache_key": "j"}],
        "egress_rules": [
            {"protocol": "tcp", "destinations": ["10.0.0.0/8"], "ports": [80], "log": True},
            {"protocol": "udp", "destinations": ["10.0.0.1"], "port_range": {"start": 53, "end": 54}},
        ],
        "log_source": "CELL",
        "setup": {"download": {"from": "http://x/a.tgz", "to": "/a", "cache_key": "a"}},
        "action": {
            "run": {
                "path": "/bin/web",
                "args": ["--name", "two words"],
                "env": [{"name": "PORT", "value": "8080"}],
                "resource_limits": {"nofile": 64},
                "dir": "/a",
                "log_source": "WEB",
            }
        },
        "monitor": {"timeout": {"timeout_ms": 1000, "action": {"run": {"path": "/bin/check"}}}},
    }
    options = Options(env=(("PORT", "1"), ("MODE", "a b")), ports=(RequestedPort(8080, 80),), disk_mb=5)
    text = "\n".join(dry_run_lines(make_order(read_runnable(document), options, "g")))
    for part in (
        "lrp web",
        "memory 32 MiB, disk 5 MiB, processes 10",
        "80 -> 8080",
        "dependency       http://x/jre.tgz -> /jre  (jre)",
        "egress           tcp 10.0.0.0/8 80 logged",
        "egress           udp 10.0.0.1 53-54",
        "setup/download",
        "to /a, owned by vcap, cached as a",
        "action/run  /bin/web --name 'two words'",
        "user vcap, in /a, logs as WEB",
        "PORT=8080 MODE='a b'",
        "at most 64 open files",
        "monitor  /bin/check",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00s"), (9.994, "9.99s"), (12.34, "12.3s"), (60, "1m00s"), (125, "2m05s")]
)
def test_durations(value: float, text: str) -> None:
    assert format_seconds(value) == text
