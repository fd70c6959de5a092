"""The step tree of a container.

::

    serial
    ├── setup          timed; empty without a setup action
    ├── post-setup     the cell's hook, if configured
    └── long-lived     the action; codependent with sidecars, monitor and readiness if present

The container is running when this step is ready, and completed when it ends. Trace paths begin with
``setup``, ``post-setup``, ``action``, ``sidecar[i]``, ``monitor`` or ``readiness``.
"""

from __future__ import annotations

from bbs.models.actions import Action, RunAction
from executor.errors import EmptyAction
from executor.logs.streamer import DEFAULT_SOURCE
from executor.model import RunInfo
from executor.steps.actions import Place, build
from executor.steps.base import Step
from executor.steps.codependent import Codependent
from executor.steps.context import StepContext
from executor.steps.lingering import Timed
from executor.steps.probes import (
    MONITOR,
    READINESS,
    health_check_of_action,
    health_check_of_definition,
    readiness_of_definition,
)
from executor.steps.replay import Interruptible, Recorded
from executor.steps.serial import Serial
from executor.steps.trace import Node

ACTION = "action"
"""The path of a container's action."""


def build_action_step(action: Action, context: StepContext, path: str = ACTION) -> Step:
    """The step of a single action. Raises EmptyAction."""
    return build(action, context, Place(path=path, streams=context.logs))


def build_container_step(run_info: RunInfo, context: StepContext) -> Step:
    """The complete step tree of a container. Raises EmptyAction if it has no action."""
    if run_info.action is None:
        raise EmptyAction
    parts = [_setup(run_info, context)]
    if context.tools.settings.post_setup_hook:
        parts.append(_post_setup(context))
    parts.append(_long_lived(run_info, run_info.action, context))
    if not context.history.durable:
        return Serial(parts)
    return Interruptible(Serial(parts), context.history, context.sweep_processes)


def _setup(run_info: RunInfo, context: StepContext) -> Step:
    setup: Step = Serial([])
    if run_info.setup is not None:
        setup = build_action_step(run_info.setup, context, "setup")
    record = Recorded(context.history, "setup")

    def report(succeeded: bool) -> None:
        if record.once("reported"):
            context.on_setup_end(succeeded)

    return Timed(setup, report, context.lingering)


def _post_setup(context: StepContext) -> Step:
    path, *args = context.tools.settings.post_setup_hook
    hook = RunAction(
        path=path,
        args=tuple(args),
        user=context.tools.settings.post_setup_user,
        log_source=DEFAULT_SOURCE,
        suppress_log_output=True,
    )
    return build_action_step(hook, context, "post-setup")


def _long_lived(run_info: RunInfo, action: Action, context: StepContext) -> Step:
    steps = [build_action_step(action, context)]
    for index, sidecar in enumerate(run_info.sidecars):
        steps.append(build(sidecar.action, context, Place(path=f"sidecar[{index}]", streams=context.logs)))
    for name, watcher in (
        (MONITOR, _monitor(run_info, context)),
        (READINESS, _readiness(run_info, context)),
    ):
        if watcher is not None:
            steps.append(context.traced(watcher, Node(name)))
    if len(steps) == 1:
        return steps[0]
    return Codependent(steps, error_on_exit=False, cancel_others_on_exit=bool(run_info.sidecars))


def _monitor(run_info: RunInfo, context: StepContext) -> Step | None:
    """A check definition, even an empty one, takes precedence over a monitor action."""
    start_timeout = run_info.start_timeout_ms / 1000
    definition = run_info.check_definition
    if definition is not None:
        return health_check_of_definition(definition, start_timeout, context) if definition.checks else None
    if run_info.monitor is not None:
        return health_check_of_action(run_info.monitor, start_timeout, context)
    return None


def _readiness(run_info: RunInfo, context: StepContext) -> Step | None:
    definition = run_info.check_definition
    return readiness_of_definition(definition, context) if definition is not None else None
