"""Decisions for LRP containers: one row per container state, with and without an evacuation.

Pure: maps the container's current state to a plan. Plans are idempotent; every bulk pass repeats them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bbs.models.actual_lrp import (
    ActualLRPInternalRoute,
    ActualLRPNetInfo,
    PortMapping,
    PreferredAddress,
    RunningData,
)
from executor.model import Container, ContainerState, RunResult
from rep import tags
from rep.outcomes.reports import (
    CrashActualLRP,
    EndReport,
    EvacuateClaimedActualLRP,
    EvacuateCrashedActualLRP,
    EvacuateStoppedActualLRP,
    Instance,
    RemoveActualLRP,
)
from rep.reconcile.commands import (
    ClaimActualLRP,
    DeleteContainer,
    EvacuateRunningActualLRP,
    LogReplacementRequest,
    Outcome,
    Plan,
    Report,
    RunLRP,
    Settle,
    StartActualLRP,
    Step,
    StopContainer,
)

Row = Callable[[Container, Instance, str], Plan]
"""Container, instance, availability zone -> plan."""


class InvalidNetInfo(Exception):
    """The running container cannot be reported to the BBS."""


def net_info(container: Container) -> ActualLRPNetInfo:
    """Addresses and ports for the BBS. Raises InvalidNetInfo without an external address."""
    if not container.external_ip:
        raise InvalidNetInfo(f"container {container.guid} has no external address")
    prefers_instance = container.advertise_preference_for_instance_address
    return ActualLRPNetInfo(
        address=container.external_ip,
        instance_address=container.internal_ip,
        preferred_address=PreferredAddress.INSTANCE if prefers_instance else PreferredAddress.HOST,
        ports=tuple(
            PortMapping(
                container_port=port.container_port,
                host_port=port.host_port,
                container_tls_proxy_port=port.container_tls_proxy_port,
                host_tls_proxy_port=port.host_tls_proxy_port,
            )
            for port in container.ports
        ),
    )


def running_data(container: Container, availability_zone: str) -> RunningData:
    """The data of a start or evacuate_running call. Raises InvalidNetInfo."""
    return RunningData(
        net_info=net_info(container),
        internal_routes=tuple(
            ActualLRPInternalRoute(hostname=name) for name in container.run_info.internal_routes
        ),
        metric_tags=dict(container.run_info.metrics_config.tags),
        routable=container.routable,
        availability_zone=availability_zone,
    )


def _reserved(container: Container, instance: Instance, zone: str) -> Plan:
    delete = DeleteContainer(container.guid)
    gone = (Settle(RemoveActualLRP(instance)), delete)
    return (
        Step(
            ClaimActualLRP(instance),
            on={Outcome.CANNOT_BE_CLAIMED: (delete,), Outcome.NOT_FOUND: (delete,)},
        ),
        Step(
            RunLRP(instance),
            on={
                Outcome.RUN_REFUSED: gone,
                Outcome.NOT_FOUND: gone,
                Outcome.UNRUNNABLE: (Settle(CrashActualLRP(instance, None)), delete),
            },
        ),
    )


def _starting(container: Container, instance: Instance, zone: str) -> Plan:
    delete = DeleteContainer(container.guid)
    return (Step(ClaimActualLRP(instance), on={Outcome.CANNOT_BE_CLAIMED: (delete,)}),)


def _running(container: Container, instance: Instance, zone: str) -> Plan:
    try:
        running = running_data(container, zone)
    except InvalidNetInfo as error:
        return (Step(Report("failed-extracting-net-info-from-container", container.guid, str(error))),)
    stop = (StopContainer(container.guid),)
    return (Step(StartActualLRP(instance, running), on={Outcome.CANNOT_BE_STARTED: stop}),)


def _completed(container: Container, instance: Instance, zone: str) -> Plan:
    return _settled(container, _report_of_end(instance, container.run_result))


def _report_of_end(instance: Instance, result: RunResult) -> EndReport:
    """The BBS call about an instance that ended.

    An expired reservation is not a crash, because nothing ran in it. EvacuateClaimedActualLRP is the only
    call that makes a claimed record unclaimed and auctions it at once. RemoveActualLRP would leave that, and
    the crash count, to the next convergence. The BBS accepts the call from any cell, and answers
    ResourceNotFound for a record that this cell did not claim.
    """
    if result.stopped:
        return RemoveActualLRP(instance)
    if result.unused:
        return EvacuateClaimedActualLRP(instance)
    return CrashActualLRP(instance, result.failure_reason)


def _settled(container: Container, report: EndReport) -> Plan:
    """Delete the container, once its report cannot get lost."""
    return (Step(Settle(report)), _delete(container))


def _delete(container: Container) -> Step:
    return Step(DeleteContainer(container.guid))


def _evacuate_claimed(container: Container, instance: Instance, zone: str) -> Plan:
    return _settled(container, EvacuateClaimedActualLRP(instance))


def _evacuate_running(container: Container, instance: Instance, zone: str) -> Plan:
    try:
        running = running_data(container, zone)
    except InvalidNetInfo as error:
        return (Step(Report("failed-extracting-net-info-from-container", container.guid, str(error))),)
    return (
        Step(LogReplacementRequest(container.guid)),
        Step(EvacuateRunningActualLRP(instance, running)),
        _delete(container),
    )


def _evacuate_completed(container: Container, instance: Instance, zone: str) -> Plan:
    result = container.run_result
    report: EndReport
    if result.stopped:
        report = EvacuateStoppedActualLRP(instance)
    elif result.unused:
        report = EvacuateClaimedActualLRP(instance)
    else:
        report = EvacuateCrashedActualLRP(instance, result.failure_reason)
    return _settled(container, report)


ORDINARY: Mapping[ContainerState, Row] = {
    ContainerState.RESERVED: _reserved,
    ContainerState.INITIALIZING: _starting,
    ContainerState.CREATED: _starting,
    ContainerState.RUNNING: _running,
    ContainerState.COMPLETED: _completed,
}

EVACUATING: Mapping[ContainerState, Row] = {
    ContainerState.RESERVED: _evacuate_claimed,
    ContainerState.INITIALIZING: _evacuate_claimed,
    ContainerState.CREATED: _evacuate_claimed,
    ContainerState.RUNNING: _evacuate_running,
    ContainerState.COMPLETED: _evacuate_completed,
}


def decide(container: Container, *, cell_id: str, zone: str, evacuating: bool) -> Plan:
    """The plan for an LRP container in its current state."""
    try:
        instance = Instance(key=tags.lrp_key(container), instance_key=tags.instance_key(container, cell_id))
    except tags.InvalidTags as error:
        return (Step(Report("failed-to-generate-lrp-key", container.guid, str(error))),)
    table = EVACUATING if evacuating else ORDINARY
    return table[container.state](container, instance, zone)
