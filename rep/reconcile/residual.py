"""Decisions for BBS records that name this cell but have no container here."""

from __future__ import annotations

from bbs.models.actual_lrp import ActualLRP
from rep.outcomes.reports import CompleteTask, Instance, RemoveActualLRP
from rep.reconcile.commands import ANY_OUTCOME, Plan, RemoveEvacuatingActualLRP, Step

TASK_CONTAINER_MISSING = "task container does not exist"


def residual_lrp(instance: ActualLRP | None, evacuating: ActualLRP | None) -> Plan:
    """The plan for the records of one instance guid: ordinary (or suspect), evacuating, or both."""
    steps: list[Step] = []
    if instance is not None:
        steps.append(Step(RemoveActualLRP(_instance(instance)), goes_on=ANY_OUTCOME))
    if evacuating is not None:
        steps.append(Step(RemoveEvacuatingActualLRP(_instance(evacuating)), goes_on=ANY_OUTCOME))
    return tuple(steps)


def residual_task(task_guid: str) -> Plan:
    """The plan for a task without a container."""
    gone = TASK_CONTAINER_MISSING
    return (Step(CompleteTask(task_guid, failed=True, failure_reason=gone, result=gone)),)


def _instance(lrp: ActualLRP) -> Instance:
    return Instance(key=lrp.actual_lrp_key, instance_key=lrp.actual_lrp_instance_key)
