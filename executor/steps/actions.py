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
    kind_of,
)
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
from executor.steps.replay import UNRECORDED, Recorded
from executor.steps.run import Run, RunOptions
from executor.steps.serial import Serial
from executor.steps.timeout import Timeout
from executor.steps.trace import Node
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

    def inheriting(self, source: str) -> Place:
        """The place with another log source for the children, unless it is empty."""
        return replace(self, source=source or self.source)

    def recorded(self, context: StepContext, node: Node) -> Recorded:
        """The record of a composite step; none for a probe."""
        return Recorded(UNRECORDED if self.probe else context.history, node.path)

    def output(self, source: str) -> Output:
        """The output of an action with its own log source; empty: the inherited one."""
        return self.streams.stream(source or self.source)


def build(action: Action | None, context: StepContext, place: Place) -> Step:
    """The step of an action. Raises EmptyAction for a missing action at any depth."""
    if action is None or not (kind := kind_of(action)):
        raise EmptyAction
    node = Node(f"{place.path}/{kind.replace('_', '-')}")
    step = _build(action, context, place, node)
    return step if place.probe else context.traced(step, node)


def _build(action: Action, context: StepContext, place: Place, node: Node) -> Step:
    match action:
        case RunAction():
            return _run(action, context, place, node)
        case DownloadAction():
            download = Download(action, context, node, place.output(action.log_source))
            return download if place.probe else context.activity(download, node)
        case UploadAction():
            upload = Upload(action, context, node, place.output(action.log_source))
            return upload if place.probe else context.activity(upload, node)
        case SerialAction():
            return Serial(_children(action.actions, context, place, node))
        case ParallelAction():
            return Parallel(_side_by_side(action.actions, context, place.inheriting(action.log_source), node))
        case CodependentAction():
            children = _side_by_side(action.actions, context, place.inheriting(action.log_source), node)
            return Codependent(children, error_on_exit=True)
        case TimeoutAction():
            child = _only_child(action.action, context, place.inheriting(action.log_source), node)
            return Timeout(
                child,
                seconds=action.timeout_ms / 1000,
                record=place.recorded(context, node),
                clock=context.tools.clock,
            )
        case TryAction():
            return Try(_only_child(action.action, context, place.inheriting(action.log_source), node))
        case EmitProgressAction():
            return EmitProgress(
                _only_child(action.action, context, place, node),
                place.output(action.log_source),
                place.recorded(context, node),
                start_message=action.start_message,
                success_message=action.success_message,
                failure_message_prefix=action.failure_message_prefix,
            )
        case _:
            raise EmptyAction


def _run(action: RunAction, context: StepContext, place: Place, node: Node) -> Step:
    container, limits = context.container, action.resource_limits
    spec = ProcessSpec(
        path=action.path,
        args=action.args,
        dir=action.dir,
        env=merge_env(
            context.engine_container.image_env,
            context.env,
            ((variable.name, variable.value) for variable in action.env),
            network_env(container.external_ip, context.engine_container.address, container.ports),
        ),
        user=action.user or "root",
        nofile=limits.nofile if limits is not None else None,
    )
    options = RunOptions(
        source=place.streams.source_name(action.log_source or place.source),
        graceful_shutdown_interval=context.tools.settings.graceful_shutdown_interval,
        suppress_exit_status=place.probe,
    )
    silent = action.suppress_log_output and not place.probe
    silence = Output(lambda _: None, lambda _: None, lambda: None)
    output = silence if silent else place.output(action.log_source)
    run = Run(spec, options, context, node, output)
    return run if place.probe else context.activity(run, node, adopts=True, release=run.release)


def _only_child(action: Action | None, context: StepContext, place: Place, node: Node) -> Step:
    return build(action, context, replace(place, path=node.path))


def _children(actions: Sequence[Action], context: StepContext, place: Place, node: Node) -> list[Step]:
    return [
        build(action, context, replace(place, path=f"{node.path}[{index}]"))
        for index, action in enumerate(actions)
    ]


def _side_by_side(actions: Sequence[Action], context: StepContext, place: Place, node: Node) -> list[Step]:
    if not place.probe:
        return _children(actions, context, place, node)
    return [_captured(action, context, replace(place, path=node.path)) for action in actions]


def _captured(action: Action, context: StepContext, place: Place) -> Step:
    captured = CapturedOutput(place.streams)
    return OutputWrapper(build(action, context, replace(place, streams=captured)), captured)
