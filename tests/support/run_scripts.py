"""A plan and the events of an imaginary run."""

from __future__ import annotations

from dataclasses import dataclass, field

from bbs.models.actions import (
    Action,
    DownloadAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TryAction,
    UploadAction,
)
from cell.runner.events import ContainerChanged, LogWritten, RunEnded, RunEvent, RunStarted
from cell.runner.model import Tree
from cell.story.plan import plan
from executor.logs.api import LogLine, Stream
from executor.model import LogConfig, RunInfo
from executor.steps.trace import Facts, Outcome, StepEnded, StepProgress, StepStarted

GUID = "run-0"
MILLISECOND = 1_000_000


@dataclass
class Script:
    """Writes events down as time goes by; every call takes ``step_ms`` ms."""

    action: Action
    step_ms: int = 10
    events: list[RunEvent] = field(default_factory=list)
    now_ns: int = 1_000_000_000 * MILLISECOND
    _begun: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        info = RunInfo(action=self.action, log_config=LogConfig(guid=GUID, source_name="APP"))
        self._add(
            RunStarted(
                time_ns=self._tick(), guid=GUID, kind="action", name="", root_fs="image", tree=plan(info)
            )
        )

    def container(self, state: str, ports: tuple[tuple[int, int], ...] = ()) -> Script:
        return self._add(ContainerChanged(time_ns=self._tick(), guid=GUID, state=state, ports=ports))

    def start(self, *paths: str) -> Script:
        for path in paths:
            self._begun[path] = self._tick()
            self._add(StepStarted(path=path, time_ns=self._begun[path]))
        return self

    def progress(self, path: str, done: int, total: int | None) -> Script:
        return self._add(
            StepProgress(path=path, time_ns=self._tick(), transferred_bytes=done, total_bytes=total)
        )

    def log(self, text: str, source: str = "APP", stream: Stream = Stream.OUT) -> Script:
        line = LogLine(
            payload=text.encode(),
            stream=stream,
            source_id=GUID,
            instance_id="0",
            source_type=source,
            time_ns=self._tick(),
        )
        return self._add(LogWritten(line=line))

    def end(
        self,
        path: str,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        reason: str = "",
        cause: str = "",
        exit_status: int | None = None,
        transferred: int | None = None,
    ) -> Script:
        now = self._tick()
        return self._add(
            StepEnded(
                path=path,
                time_ns=now,
                seconds=(now - self._begun[path]) / 1e9,
                outcome=outcome,
                reason=reason,
                cause=cause,
                facts=Facts(exit_status=exit_status, transferred_bytes=transferred),
            )
        )

    def fail(self, path: str, reason: str, *, cause: str = "", exit_status: int | None = None) -> Script:
        return self.end(path, Outcome.FAILED, reason=reason, cause=cause, exit_status=exit_status)

    def over(self, exit_code: int = 0, *, path: str = "", reason: str = "", cause: str = "") -> Script:
        return self._add(
            RunEnded(
                time_ns=self._tick(),
                seconds=1.5,
                guid=GUID,
                exit_code=exit_code,
                path=path,
                reason=reason,
                cause=cause,
            )
        )

    @property
    def tree(self) -> Tree:
        """The model after all events so far."""
        tree = Tree()
        for event in self.events:
            tree.apply(event)
        return tree

    def _tick(self) -> int:
        self.now_ns += self.step_ms * MILLISECOND
        return self.now_ns

    def _add(self, event: RunEvent) -> Script:
        self.events.append(event)
        return self


RUN = RunAction(path="/bin/make", args=("all",), user="vcap")
DEMO = SerialAction(
    actions=(
        DownloadAction(artifact="app", from_="http://x/app.tgz", to="/app", user="vcap"),
        TryAction(action=RUN),
        ParallelAction(actions=(RUN, RunAction(path="/bin/test", user="vcap", log_source="TEST"))),
        UploadAction(from_="/out", to="http://x/out", user="vcap"),
    )
)


def failed_run() -> Script:
    """A download, a failure that is forgiven, one that is not beside a success; an upload is not reached."""
    serial, ports = "action/serial", ((61001, 8080),)
    run, test = "action/serial[2]/parallel[0]/run", "action/serial[2]/parallel[1]/run"
    story = Script(DEMO).container("reserved").container("initializing").start(serial)
    story.start("action/serial[0]/download").progress("action/serial[0]/download", 512, 2048)
    story.end("action/serial[0]/download", transferred=2048).container("running", ports)
    story.start("action/serial[1]/try", "action/serial[1]/try/run")
    story.log("all is lost", stream=Stream.ERR).fail("action/serial[1]/try/run", "APP: Exited with status 9")
    story.end("action/serial[1]/try").start("action/serial[2]/parallel", run, test)
    story.log("<made> it\x1b[0m").end(run, exit_status=0).log("1 test failed", "TEST")
    story.fail(test, "TEST: Exited with status 4", cause="a bug", exit_status=4)
    story.fail("action/serial[2]/parallel", "TEST: Exited with status 4")
    story.fail(serial, "TEST: Exited with status 4").container("completed", ports)
    return story.over(1, path=test, reason="TEST: Exited with status 4", cause="a bug")
