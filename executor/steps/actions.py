"""Step builder: converts an action to its step and passes attributes to child actions.

timeout, try, parallel and codependent pass their log source to their children; serial and emit-progress do
not. In a monitor action (a probe) no Run step is silent and no exit status is logged. The output of each
child of a parallel or codependent action is captured there for the text of its error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    EmitProgressAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
    UploadAction,
)
from executor.cache.api import Progress
from executor.engine.api import ProcessSpec
from executor.environment import merge_env, network_env
from executor.errors import EmptyAction
from executor.logs.api import LogStreams, Output
from executor.steps.base import Step
from executor.steps.codependent import Codependent
from executor.steps.context import StepContext
from executor.steps.download import Download
from executor.steps.emit_progress import EmitProgress
from executor.steps.output_wrapper import CapturedOutput, OutputWrapper
from executor.steps.parallel import Parallel
from executor.steps.run import Run, RunOptions
from executor.steps.serial import Serial
from executor.steps.timeout import Timeout
from executor.steps.trace import Facts, Traced, transfer_progress
from executor.steps.try_ import Try
from executor.steps.upload import Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Position of an action in the tree.

    path: of the parent. source: the inherited log source. streams: destination of the output. probe: whether
    the action belongs to a monitor action.
    """

    path: str
    streams: LogStreams
    source: str = ""
    probe: bool = False


def build(action: Action | None, context: StepContext, place: Place) -> Step:
    """The step of an action. Raises EmptyAction for a missing action at any depth."""
    facts = Facts()
    kind, step = _build(action, context, place, facts)
    if place.probe:
        return step
    path = f"{place.path}/{kind}"
    return Traced(step, context.container.guid, path, context.recorder, context.clock, facts)


def _build(action: Action | None, context: StepContext, place: Place, facts: Facts) -> tuple[str, Step]:
    match action:
        case RunAction():
            return "run", _run(action, context, place, facts)
        case DownloadAction():
            output = place.streams.stream(action.log_source or place.source)
            return "download", Download(
                action,
                context.fetcher,
                context.slots.downloads.of(context.container.guid),
                context.engine,
                context.container,
                output,
                facts,
                _progress(context, f"{place.path}/download"),
                context.orphans,
            )
        case UploadAction():
            output = place.streams.stream(action.log_source or place.source)
            return "upload", Upload(
                action,
                context.uploader,
                context.slots.uploads.of(context.container.guid),
                context.engine,
                context.container,
                context.settings.work_dir,
                output,
                facts,
                _progress(context, f"{place.path}/upload"),
            )
        case SerialAction():
            return "serial", Serial(_children(action.actions, context, place, "serial"))
        case ParallelAction():
            place = _inherit(place, action.log_source)
            return "parallel", Parallel(_side_by_side(action.actions, context, place, "parallel"))
        case CodependentAction():
            place = _inherit(place, action.log_source)
            children = _side_by_side(action.actions, context, place, "codependent")
            return "codependent", Codependent(children, error_on_exit=True)
        case TimeoutAction():
            place = _inherit(place, action.log_source)
            child = _only_child(action.action, context, place, "timeout")
            return "timeout", Timeout(child, seconds=action.timeout_ms / 1000)
        case TryAction():
            place = _inherit(place, action.log_source)
            return "try", Try(_only_child(action.action, context, place, "try"))
        case EmitProgressAction():
            return "emit-progress", EmitProgress(
                _only_child(action.action, context, place, "emit-progress"),
                place.streams.stream(action.log_source or place.source),
                start_message=action.start_message,
                success_message=action.success_message,
                failure_message_prefix=action.failure_message_prefix,
            )
        case _:
            raise EmptyAction


def _run(action: RunAction, context: StepContext, place: Place, facts: Facts) -> Run:
    source = place.streams.source_name(action.log_source or place.source)
    limits = action.resource_limits
    spec = ProcessSpec(
        path=action.path,
        args=action.args,
        dir=action.dir,
        env=merge_env(
            context.container.image_env,
            context.env,
            ((variable.name, variable.value) for variable in action.env),
            network_env(context.instance.external_ip, context.container.address, context.instance.ports),
        ),
        user=action.user or "root",
        nofile=limits.nofile if limits is not None else None,
    )
    options = RunOptions(
        source=source,
        graceful_shutdown_interval=context.settings.graceful_shutdown_interval,
        suppress_exit_status=place.probe,
    )
    silent = action.suppress_log_output and not place.probe
    output = _silence() if silent else place.streams.stream(action.log_source or place.source)
    return Run(context.engine, context.container, spec, output, options, facts)


def _progress(context: StepContext, path: str) -> Progress:
    return transfer_progress(path, context.recorder, context.clock)


def _silence() -> Output:
    return Output(lambda _: None, lambda _: None, lambda: None)


def _inherit(place: Place, source: str) -> Place:
    return replace(place, source=source or place.source)


def _only_child(action: Action | None, context: StepContext, place: Place, kind: str) -> Step:
    return build(action, context, replace(place, path=f"{place.path}/{kind}"))


def _children(actions: Sequence[Action], context: StepContext, place: Place, kind: str) -> list[Step]:
    return [
        build(action, context, replace(place, path=f"{place.path}/{kind}[{index}]"))
        for index, action in enumerate(actions)
    ]


def _side_by_side(actions: Sequence[Action], context: StepContext, place: Place, kind: str) -> list[Step]:
    if not place.probe:
        return _children(actions, context, place, kind)
    return [_captured(action, context, place, f"{kind}[{index}]") for index, action in enumerate(actions)]


def _captured(action: Action, context: StepContext, place: Place, segment: str) -> Step:
    captured = CapturedOutput(place.streams)
    child = build(action, context, replace(place, path=f"{place.path}/{segment}", streams=captured))
    return OutputWrapper(child, captured)
