"""Builders of the health check and readiness steps, from checks or from a monitor action."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.models.actions import Action
from bbs.models.workload import Check, CheckDefinition
from executor.logs.api import Output
from executor.steps.actions import Place, build
from executor.steps.base import Step
from executor.steps.check import (
    LivenessCheck,
    ReadinessCheck,
    StartupCheck,
    Target,
    UntilReadyCheck,
    targets_of,
)
from executor.steps.codependent import Codependent
from executor.steps.context import StepContext
from executor.steps.health import Consistently, Eventually, HealthCheck, Readiness
from executor.steps.parallel import Parallel
from executor.steps.replay import Recorded
from executor.steps.throttle import Throttle

MONITOR, READINESS = "monitor", "readiness"
"""Paths of the steps."""

CHECK_SOURCE = "HEALTH"
"""Default log source of checks."""


def health_check_of_definition(
    definition: CheckDefinition, start_timeout: float, context: StepContext
) -> Step:
    """Startup and liveness checks of every valid check definition."""
    settings = context.tools.settings
    oom = context.out_of_memory
    targets = _targets(definition.checks, context)

    def startup(elapsed: float) -> Step:
        checks = [
            StartupCheck(
                target,
                interval=settings.unhealthy_monitoring_interval,
                timeout=start_timeout,
                elapsed=elapsed,
                out_of_memory=oom,
            )
            for target in targets
        ]
        return Parallel(checks)

    liveness = [
        LivenessCheck(
            target,
            interval=target.interval or settings.healthy_monitoring_interval,
            on_failure=context.on_liveness_failure,
            out_of_memory=oom,
        )
        for target in targets
    ]
    return HealthCheck(
        startup,
        Codependent(liveness, error_on_exit=False) if liveness else None,
        context.logs.stream(""),
        _check_output(definition, context),
        context.tools.clock,
        Recorded(context.history, MONITOR),
    )


def health_check_of_action(monitor: Action, start_timeout: float, context: StepContext) -> Step:
    """The health check of a monitor action: repeated until it succeeds, then until it fails.

    Every probe builds a new step.
    """
    settings = context.tools.settings
    place = Place(path=MONITOR, streams=context.logs, probe=True)

    def probe() -> Step:
        return Throttle(build(monitor, context, place), context.tools.slots.probes.of(context.container.guid))

    probe()  # detect a missing action now, not at the first probe
    output = context.logs.stream("")

    def startup(elapsed: float) -> Step:
        eventually = Eventually(
            probe,
            interval=settings.unhealthy_monitoring_interval,
            timeout=start_timeout,
            elapsed=elapsed,
            clock=context.tools.clock,
        )
        return Parallel([eventually])

    liveness = Consistently(probe, interval=settings.healthy_monitoring_interval)
    record = Recorded(context.history, MONITOR)
    return HealthCheck(startup, liveness, output, output, context.tools.clock, record)


def readiness_of_definition(definition: CheckDefinition, context: StepContext) -> Step | None:
    """The readiness step; None without a valid readiness check."""
    settings = context.tools.settings
    targets = _targets(definition.readiness_checks, context)
    if not targets:
        return None
    oom = context.out_of_memory

    def until_ready() -> Step:
        interval = settings.unhealthy_monitoring_interval
        return Parallel([UntilReadyCheck(target, interval=interval, out_of_memory=oom) for target in targets])

    def until_failure() -> Step:
        checks = [
            ReadinessCheck(
                target, interval=target.interval or settings.healthy_monitoring_interval, out_of_memory=oom
            )
            for target in targets
        ]
        return Codependent(checks, error_on_exit=True, cancel_others_on_exit=True)

    output = _check_output(definition, context)
    record = Recorded(context.history, READINESS)
    return Readiness(until_ready, until_failure, context.on_readiness, output, record)


def _targets(checks: Sequence[Check], context: StepContext) -> list[Target]:
    timeout = context.tools.settings.default_check_timeout
    return targets_of(checks, context.engine_container.address, timeout, context.open_socket, context.turns)


def _check_output(definition: CheckDefinition, context: StepContext) -> Output:
    return context.logs.stream(definition.log_source or CHECK_SOURCE)
