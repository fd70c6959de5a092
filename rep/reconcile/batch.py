"""The operations of a bulk pass: one per container, and one per BBS record without a container."""

from __future__ import annotations

from collections.abc import Container as Holding
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from bbs.models.actual_lrp import ActualLRP, Presence
from bbs.models.task import Task
from executor.model import Container


@dataclass(frozen=True, slots=True)
class ContainerOperation:
    """Process the container in its state at run time; ``trace_id`` is that of the request that caused it."""

    guid: str
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class ResidualLRP:
    """An instance without a container: its ordinary or suspect record, its evacuating one, or both."""

    guid: str
    instance: ActualLRP | None = None
    evacuating: ActualLRP | None = None


@dataclass(frozen=True, slots=True)
class ResidualTask:
    """A task without a container."""

    guid: str


Operation: TypeAlias = ContainerOperation | ResidualLRP | ResidualTask
"""One entry of the operation queue; ``guid`` is its key."""


def batch(
    containers: Iterable[Container],
    actual_lrps: Iterable[ActualLRP],
    tasks: Iterable[Task],
    unreported: Holding[str] = (),
) -> dict[str, Operation]:
    """One operation per guid, by the table of the bulk pass.

    unreported: guids whose report waits for the BBS. Their records are not residual: the report corrects
    them, and says what really happened.
    """
    operations: dict[str, Operation] = {
        container.guid: ContainerOperation(container.guid) for container in containers
    }
    instances: dict[str, ActualLRP] = {}
    evacuating: dict[str, ActualLRP] = {}
    for lrp in actual_lrps:
        leaving = lrp.presence is Presence.EVACUATING
        (evacuating if leaving else instances)[lrp.actual_lrp_instance_key.instance_guid] = lrp
    for guid in (*instances, *evacuating):
        if guid not in operations and guid not in unreported:
            operations[guid] = ResidualLRP(guid, instances.get(guid), evacuating.get(guid))
    for task in tasks:
        if task.task_guid not in unreported:
            operations.setdefault(task.task_guid, ResidualTask(task.task_guid))
    return operations
