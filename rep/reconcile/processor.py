"""Execution of operations: reads a container or a record, decides by the tables, calls BBS and executor.

The only module of the rep that executes plans. It logs every failure of a command once, with the
instance or task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from bbs.client.api import BBSClient
from bbs.models.errors import BBSError
from bbs.tracing import traced
from executor.api import ExecutorAPI
from executor.errors import ContainerNotFound, ExecutorError
from executor.model import Container, RunRequest
from rep import tags
from rep.outcomes.courier import Courier
from rep.outcomes.reports import CompleteTask, RejectTask
from rep.outcomes.sender import Sender
from rep.reconcile import commands as do
from rep.reconcile import lrp, residual, tasks
from rep.reconcile.batch import ContainerOperation, Operation, ResidualLRP, ResidualTask
from rep.reconcile.commands import Command, Outcome, Plan, classify
from rep.removals import Removals
from rep.results import ResultTooLarge, fetch_result
from rep.runrequest import RunRequestBuilder, RunRequestError

logger = logging.getLogger(__name__)


class Credentials(Protocol):
    """Exchanges a workload's image credentials for those of its registry."""

    async def exchange(self, root_fs: str, username: str, password: str) -> tuple[str, str]:
        """User name and password for the registry of ``root_fs``. Raises RunRequestError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The cell of a processor; ``evacuating`` is evaluated for every operation."""

    cell_id: str
    zone: str = ""
    evacuating: Callable[[], bool] = lambda: False


class Processor:
    """Runs operations of the queue."""

    def __init__(
        self,
        cell: Cell,
        executor: ExecutorAPI,
        bbs: BBSClient,
        builder: RunRequestBuilder,
        credentials: Credentials,
        removals: Removals,
        courier: Courier,
    ) -> None:
        self._courier = courier
        self._send = Sender(bbs, cell.cell_id)
        self._cell = cell
        self._executor = executor
        self._bbs = bbs
        self._builder = builder
        self._credentials = credentials
        self._removals = removals
        self._replacement_logged: set[str] = set()

    async def execute(self, operation: Operation) -> None:
        """Decide by the current state, and execute the plan."""
        match operation:
            case ContainerOperation(guid, trace_id):
                container = self._container(guid)
                if container is not None:
                    with traced(trace_id):
                        await self.carry_out(await self._plan(container), trace_id)
            case ResidualLRP(guid, instance, evacuating):
                if self._is_residual(guid):
                    await self.carry_out(residual.residual_lrp(instance, evacuating), "")
            case ResidualTask(guid):
                if self._is_residual(guid):
                    await self.carry_out(residual.residual_task(guid), "")

    async def carry_out(self, plan: Plan, trace_id: str) -> None:
        """Execute the plan step by step while the outcomes allow the next step."""
        for step in plan:
            outcome, why = await self._attempt(step.command, trace_id)
            for answer in step.on.get(outcome, ()):
                if (await self._attempt(do.explained(answer, why), trace_id))[0] is Outcome.FAILED:
                    return
            if outcome not in step.goes_on:
                return

    def _is_residual(self, guid: str) -> bool:
        """Whether the record has no container here, and no report about its end waits."""
        return self._container(guid) is None and guid not in self._courier.ledger

    def _container(self, guid: str) -> Container | None:
        try:
            return self._executor.container(guid)
        except ContainerNotFound:
            self._replacement_logged.discard(guid)
            return None

    async def _plan(self, container: Container) -> Plan:
        match container.tags.get(tags.LIFECYCLE):
            case tags.LRP_LIFECYCLE:
                return lrp.decide(
                    container,
                    cell_id=self._cell.cell_id,
                    zone=self._cell.zone,
                    evacuating=self._cell.evacuating(),
                )
            case tags.TASK_LIFECYCLE:
                path = tasks.result_path(container)
                return tasks.decide(container, await self._result(container, path) if path else "")
            case other:
                report = do.Report("unknown-container-lifecycle", container.guid, f"lifecycle is {other!r}")
                return (do.Step(report),)

    async def _result(self, container: Container, path: str) -> str | None:
        try:
            return await fetch_result(self._executor, container.guid, path)
        except (ResultTooLarge, ExecutorError) as error:
            data = {"guid": container.guid, "error": str(error), "path": path}
            # A cancelled task seldom has a result, and the result is not needed.
            level = logging.DEBUG if container.run_result.stopped else logging.ERROR
            logger.log(level, "failed-fetching-task-result", extra={"data": data})
            return None
        except Exception as error:
            # Any failure to read an app's file: the task ends, and its container is deleted.
            data = {"guid": container.guid, "error": str(error), "path": path}
            logger.exception("failed-fetching-task-result", extra={"data": data})
            return None

    async def _attempt(self, command: Command, trace_id: str) -> tuple[Outcome, str]:
        """The command's outcome, and the reason of a failure."""
        try:
            outcome = await self._do(command, trace_id)
            logger.debug("command-done", extra={"data": {**_about(command), "outcome": outcome.value}})
            return outcome, ""
        except BBSError as error:
            _log_failure("bbs-call-failed", command, error, type=error.type.name)
            return classify(error), str(error)
        except ContainerNotFound as error:
            logger.debug("container-gone", extra={"data": {**_about(command), "error": str(error)}})
            return Outcome.NOT_FOUND, str(error)
        except RunRequestError as error:
            _log_failure("cannot-build-run-request", command, error, detail=error.detail)
            return Outcome.UNRUNNABLE, str(error)
        except ExecutorError as error:
            _log_failure("command-failed", command, error)
            return Outcome.FAILED, str(error)
        except Exception as error:
            # An unknown failure concerns one command: a plan that ends with a deletion still reaches it.
            data = {**_about(command), "error": str(error)}
            logger.exception("command-failed", extra={"data": data})
            return Outcome.FAILED, type(error).__name__

    async def _do(self, command: Command, trace_id: str) -> Outcome:
        match command:
            case do.Settle(report):
                done = await self._courier.settle(report, trace_id)
                return Outcome.DONE if done else Outcome.FAILED
            case do.LogReplacementRequest() | do.StopContainer() | do.DeleteContainer() | do.Report():
                return await self._do_here(command, trace_id)
            case do.StartTask() | do.RunTask():
                return await self._do_for_task(command, trace_id)
            case (
                do.ClaimActualLRP()
                | do.RunLRP()
                | do.StartActualLRP()
                | do.RemoveEvacuatingActualLRP()
                | do.EvacuateRunningActualLRP()
            ):
                return await self._do_for_lrp(command, trace_id)
            case _:
                await self._send(command, trace_id, repeated=False)
                return Outcome.DONE

    async def _do_here(
        self,
        command: do.LogReplacementRequest | do.StopContainer | do.DeleteContainer | do.Report,
        trace_id: str,
    ) -> Outcome:
        match command:
            case do.LogReplacementRequest(guid):
                if guid not in self._replacement_logged:
                    self._replacement_logged.add(guid)
                    text = f"Cell {self._cell.cell_id} requesting replacement for instance {guid}"
                    self._executor.log(guid, text)
            case do.StopContainer(guid):
                await self._executor.stop(guid, trace_id=trace_id)
            case do.DeleteContainer(guid):
                await self._executor.delete(guid, trace_id=trace_id)
                self._replacement_logged.discard(guid)
                self._removals.notify()
            case do.Report(message, guid, detail):
                logger.error(message, extra={"data": {"guid": guid, "error": detail}})
        return Outcome.DONE

    async def _do_for_task(self, command: do.TaskCommand, trace_id: str) -> Outcome:
        match command:
            case do.StartTask(guid):
                starts = await self._bbs.start_task(guid, self._cell.cell_id, trace_id=trace_id)
                return Outcome.DONE if starts else Outcome.ALREADY_STARTED
            case do.RunTask(guid):
                task = await self._bbs.task(guid, trace_id=trace_id)
                request = replace(self._builder.for_task(task), guid=guid)  # not the guid of the answer
                return await self._run(request, trace_id)

    async def _do_for_lrp(self, command: do.LRPCommand, trace_id: str) -> Outcome:
        bbs = self._bbs
        who = command.instance
        match command:
            case do.ClaimActualLRP():
                await bbs.claim_actual_lrp(who.key, who.instance_key, trace_id=trace_id)
            case do.RunLRP():
                desired = await bbs.desired_lrp(who.key.process_guid, trace_id=trace_id)
                return await self._run(self._builder.for_lrp(desired, who.key.index, who.guid), trace_id)
            case do.StartActualLRP(_, running):
                await bbs.start_actual_lrp(who.key, who.instance_key, running, trace_id=trace_id)
            case do.EvacuateRunningActualLRP(_, running):
                keep = await bbs.evacuate_running_actual_lrp(
                    who.key, who.instance_key, running, trace_id=trace_id
                )
                return Outcome.KEEP_CONTAINER if keep else Outcome.DONE
            case do.RemoveEvacuatingActualLRP():
                await bbs.remove_evacuating_actual_lrp(who.key, who.instance_key, trace_id=trace_id)
        return Outcome.DONE

    async def _run(self, request: RunRequest, trace_id: str) -> Outcome:
        info = request.run_info
        username, password = await self._credentials.exchange(
            info.root_fs, info.image_username, info.image_password
        )
        credited = replace(info, image_username=username, image_password=password)
        try:
            await self._executor.run(replace(request, run_info=credited), trace_id=trace_id)
        except ExecutorError as error:
            data = {"guid": request.guid, "error": str(error)}
            logger.error("failed-running-container", extra={"data": data})
            return Outcome.RUN_REFUSED
        return Outcome.DONE


def _about(command: Command) -> dict[str, str]:
    """Log data of a command: its type, and the container."""
    subject = command.report if isinstance(command, do.Settle) else command
    match subject:
        case do.StartTask(guid) | do.RunTask(guid):
            pass
        case do.LogReplacementRequest(guid) | do.StopContainer(guid) | do.DeleteContainer(guid):
            pass
        case do.Report(_, guid):
            pass
        case CompleteTask(guid) | RejectTask(guid):
            pass
        case _:
            guid = subject.instance.guid
    return {"command": type(subject).__name__, "guid": guid}


def _log_failure(message: str, command: Command, error: Exception, **data: str) -> None:
    logger.error(message, extra={"data": {**_about(command), "error": str(error), **data}})
