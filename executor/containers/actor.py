"""The container actor: creates one container, runs its process group, ends and destroys it.

No lock per container is needed: every state change is a plain call without an await. Stop, update and expiry
take effect at once. Creating and running take time: each is a *phase*, a task of its own, and only one runs
at a time. A stop cancels the phase, so it also interrupts an image pull.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from executor.containers.creation import Creation, CreationFailed
from executor.containers.destruction import FORCED, Destruction, error_of
from executor.containers.facilities import Facilities, ProcessGroup
from executor.containers.machine import (
    MISSING,
    STOPPED_BEFORE_RUNNING,
    BecomeReady,
    Complete,
    FlipReadiness,
    Initialize,
    RequestStop,
    Update,
)
from executor.containers.phase import Phase
from executor.containers.record import ContainerRecord
from executor.containers.results import completion, exited_on_timeout, is_interrupt
from executor.containment import INTERNAL_ERROR
from executor.engine.api import EngineContainer
from executor.errors import ExecutorError
from executor.journal.api import JournalError
from executor.model import Container, ContainerState, RunRequest, UpdateRequest
from executor.steps.base import Step, is_expected, outlast, public_text
from executor.steps.children import leaves
from executor.watch.readings import Watched

log = logging.getLogger(__name__)

STOP_AGAIN_S = 0.1
"""Time until an adopted container is stopped. Its steps, once begun, first take over its processes."""


class ContainerActor:
    """Drives one container through its states."""

    def __init__(self, guid: str, shared: Facilities) -> None:
        self._guid = guid
        self._shared = shared
        self._life: asyncio.Task[None] | None = None
        self._phase = Phase(guid)
        self._group: ProcessGroup | None = None
        self._stop_logged = False
        self._destruction = Destruction(guid, shared)
        self._readiness: bool | None = None
        self._queued_at = 0.0
        self._trace_id = ""
        self._engine_container: EngineContainer | None = None
        self._created_at_ns = 0
        self._recreated = False

    @property
    def container(self) -> Container:
        """Raises ContainerNotFound after the removal."""
        return self._shared.store.get(self._guid)

    @property
    def engine_container(self) -> EngineContainer | None:
        """The engine's container; None before its creation and after its destruction."""
        return self._engine_container

    def restore(self, record: ContainerRecord, engine_container: EngineContainer | None) -> None:
        """Take over what the previous agent process knew. engine_container: None if it is gone."""
        self._trace_id = record.trace_id
        self._created_at_ns = record.created_at_ns
        self._readiness = record.readiness
        self._engine_container = engine_container

    def recreate(self) -> None:
        """Remove what the previous agent process began to create, and create the container again."""
        self._recreated = True
        self._queued_at = self._shared.clock.monotonic()
        self._life = self._shared.scheduler.spawn_for(self._guid, self._live)

    def adopt(self, engine_container: EngineContainer, started_at: float) -> None:
        """Continue the steps of a container that the previous agent process created.

        started_at: monotonic s, start of the creation.
        """
        self._life = self._shared.scheduler.spawn_for(
            self._guid, lambda: self._continue(engine_container, started_at)
        )

    def finish(self, reason: str, *, retryable: bool = False) -> None:
        """Complete a container of the previous agent process that cannot continue."""
        self._complete(Complete(failed=True, failure_reason=reason, retryable=retryable), self._trace_id)

    def watched(self) -> Watched | None:
        """The input of the metrics readings; None unless the container is created or running."""
        container = self.container
        if self._engine_container is None or container.state is ContainerState.COMPLETED:
            return None
        return Watched(
            container=container,
            engine_container=self._engine_container,
            created_at_ns=self._created_at_ns,
        )

    def run(self, request: RunRequest, *, trace_id: str) -> None:
        """Move to initializing and start the container in the background.

        Raises ContainerNotFound, InvalidStateTransition.
        """
        move = Initialize(run_info=request.run_info, tags=request.tags)
        self._queued_at = now = self._shared.clock.monotonic()
        now_ns = int(now * 1e9)
        self._shared.store.move(
            self._guid,
            move,
            trace_id=trace_id,
            note=lambda record: replace(record, trace_id=trace_id, started_at_ns=now_ns),
        )
        self._trace_id = trace_id
        self._shared.meter.stages.ended(self._guid, "allocate", self._reserved_for_s())
        self._life = self._shared.scheduler.spawn_for(self._guid, self._live)

    def update(self, request: UpdateRequest, *, trace_id: str) -> None:
        """Replace routes or tags, in any state. Raises ContainerNotFound."""
        move = Update(internal_routes=request.internal_routes, metric_tags=request.metric_tags)
        self._shared.store.move(self._guid, move, trace_id=trace_id)
        if request.metric_tags is not None and self._group is not None:
            self._group.update_tags(request.metric_tags)

    def stop(self, *, trace_id: str) -> None:
        """Request the stop and return at once. Raises ContainerNotFound."""
        container = self._shared.store.move(self._guid, RequestStop(), trace_id=trace_id)
        if self._group is not None:
            if not self._stop_logged:
                self._stop_logged = True
                self._shared.app_log.stopping(container.run_info.log_config, self._guid)
        else:
            self._complete(Complete(failed=True, failure_reason=STOPPED_BEFORE_RUNNING), trace_id)
        self._phase.interrupt()

    def vanished(self) -> None:
        """Complete the container because the engine no longer has it. Raises ContainerNotFound."""
        self._complete(Complete(failed=True, failure_reason=MISSING), self._trace_id)
        self._phase.interrupt()

    def exceeded(self, reason: str) -> None:
        """Complete the container because it exceeded a limit that the cell itself enforces.

        Raises ContainerNotFound.
        """
        container = self.container
        if container.state is ContainerState.COMPLETED:
            return
        self._shared.app_log.warn(container, f"{reason[0].upper()}{reason[1:]}: ending this instance")
        self._complete(Complete(failed=True, failure_reason=reason), self._trace_id)
        self._phase.interrupt()

    async def delete(self, *, trace_id: str) -> bool:
        """Stop the container, wait for its end, destroy and remove it.

        Returns False at once if another deletion is in progress, and False if the container is destroyed by
        force meanwhile. Raises ContainerNotFound, ExecutorError. After an ExecutorError the container keeps
        its resources and the caller can retry.
        """
        if self._destruction.in_progress:
            return False
        with self._destruction.begun():
            self.stop(trace_id=trace_id)
            if not await self._destruction.unless_forced(self._end()):
                return False
            self._shared.store.remove(self._guid)
        return True

    async def force_destroy(self, *, trace_id: str) -> None:
        """Kill the container without grace period and remove it, even if the engine does not respond.

        Returns when the container is destroyed or after ``destruction.KILL_LIMIT_S``. Later work of the
        engine goes on and is logged. Raises ContainerNotFound.
        """
        shared = self._shared
        container = shared.store.move(self._guid, RequestStop(), trace_id=trace_id)
        log.warning("destroying-by-force", extra=self._about(state=container.state.value))
        self._destruction.force()
        self._complete(Complete(failed=True, failure_reason=FORCED), trace_id)
        self._phase.interrupt()
        # A separate task releases the resources even if the caller is cancelled.
        await asyncio.wait({shared.scheduler.spawn_for(self._guid, self._force)})

    async def close(self) -> None:
        """End leftover processes of the steps; the container itself stays."""
        if self._group is not None:
            await self._group.close()

    async def _end(self) -> None:
        if self._life is not None:
            await asyncio.wait({self._life})
        async with self._shared.scheduler.deletions:
            await self._destruction.regular(self.container, self.close, self._forget_engine_container)

    async def _force(self) -> None:
        try:
            await self._destruction.kill()
            self._shared.scheduler.spawn_for(self._guid, self.close)
        finally:
            self._forget_engine_container()
            self._shared.store.remove(self._guid)

    def _forget_engine_container(self) -> None:
        self._engine_container = None
        self._shared.limits.forget(self._guid)

    def _reserved_for_s(self) -> float:
        return (self._shared.clock.time_ns() - self.container.allocated_at) / 1e9

    def _about(self, **data: object) -> dict[str, dict[str, object]]:
        return {"data": {"guid": self._guid, **data}}

    def _complete(self, move: Complete, trace_id: str) -> None:
        """Complete the container; only the first completion counts."""
        if self.container.state is not ContainerState.COMPLETED:
            self._shared.store.move(self._guid, move, trace_id=trace_id)

    async def _live(self) -> None:
        with self._shared.containment.of(self._guid, "live", then=self._end_of_internal_error):
            if (creation := await self._create()) is not None:
                await self._run_until_completed(creation.engine_container, creation.started_at)

    async def _continue(self, engine_container: EngineContainer, started_at: float) -> None:
        """The life of an adopted container. A stop that was requested before takes effect again."""
        stopping = None
        if self.container.run_result.stopped:
            self._stop_logged = True
            stopping = asyncio.get_running_loop().call_later(STOP_AGAIN_S, self._phase.interrupt)
        try:
            with self._shared.containment.of(self._guid, "live", then=self._end_of_internal_error):
                await self._run_until_completed(engine_container, started_at)
        finally:
            if stopping is not None:
                stopping.cancel()

    async def _run_until_completed(self, engine_container: EngineContainer, started_at: float) -> None:
        """The life of a container from its creation on. started_at: monotonic s, start of the creation."""
        self._group = group = self._prepare(engine_container, started_at)
        if group is None:
            return
        error = await self._run(group.step)
        group.note_end(cancelled=error is not None and is_interrupt(error))
        if self._destruction.forced:
            return
        with self._shared.containment.of(self._guid, "look at limits"):
            if (watched := self.watched()) is not None:
                await self._shared.limits.check([watched])
        if error is not None:
            _report(self._guid, error)
        with self._shared.containment.of(self._guid, "count"):
            if exited_on_timeout(error):
                self._shared.meter.count("ContainerExitedOnTimeoutCount")
            self._shared.meter.count("ContainerCompletedCount")
        self._complete(await self._completion(error, engine_container), self._trace_id)

    async def _completion(self, error: BaseException | None, engine_container: EngineContainer) -> Complete:
        """The result of the steps. If the container was ended from outside, for example in a restart of the
        engine, then that is the reason of their failure.
        """
        result, engine = completion(error), self._shared.engine
        if (
            result.failed
            and await engine.has_ended(engine_container)
            and not await engine.out_of_memory(engine_container)
        ):
            return replace(result, failure_reason=MISSING)
        return result

    def _end_of_internal_error(self) -> None:
        """Complete the container in any state; it still has to be deleted."""
        if self._shared.store.has(self._guid):
            move = Complete(failed=True, failure_reason=INTERNAL_ERROR, retryable=self._group is None)
            self._complete(move, self._trace_id)
        self._phase.interrupt()

    async def _create(self) -> Creation | None:
        if self._is_over_early():  # the stop came before the phase existed
            return None
        phase = await self._phase.run(self._create_in_turn())
        if self._is_over_early():
            return None
        error = error_of(phase)
        if error is None:
            creation = phase.result()
            self._engine_container = made = creation.engine_container
            self._created_at_ns = created_at_ns = self._shared.clock.time_ns()
            self._shared.store.move(
                self._guid,
                creation.move,
                trace_id=self._trace_id,
                note=lambda record: replace(record, engine_id=made.id, created_at_ns=created_at_ns),
            )
            return creation
        _report(self._guid, error)
        reason = public_text(error)
        self._complete(Complete(failed=True, failure_reason=reason, retryable=True), self._trace_id)
        return None

    def _is_over_early(self) -> bool:
        return self._destruction.forced or self.container.state is not ContainerState.INITIALIZING

    async def _create_in_turn(self) -> Creation:
        async with self._shared.scheduler.creations:
            queued_s = self._shared.clock.monotonic() - self._queued_at
            self._shared.meter.stages.ended(self._guid, "queue", queued_s)
            with self._shared.meter.timed(failed="ContainerSetupFailedDuration"):
                if self._recreated:
                    await self._remove_remains()
                await self._store_intent()
                return await self._shared.creator.create(self.container)

    async def _store_intent(self) -> None:
        try:
            await self._shared.records.settled()
        except JournalError as error:
            log.error("container-not-created", extra=self._about(error=str(error)))
            raise CreationFailed(f"failed to create container: {error.text}") from error

    async def _remove_remains(self) -> None:
        await self._shared.engine.destroy(self._guid)
        await self._shared.network.detach(self._guid)
        await self._shared.creator.remove_files(self._guid)

    def _prepare(self, engine_container: EngineContainer, started_at: float) -> ProcessGroup | None:
        try:
            return self._shared.build_group(
                self.container, engine_container, started_at, self._flip_readiness
            )
        except ExecutorError as error:
            _report(self._guid, error)
            self._complete(completion(error), self._trace_id)
            return None

    async def _run(self, step: Step) -> BaseException | None:
        watch = asyncio.create_task(self._await_readiness(step))
        try:
            return error_of(await self._phase.run(step.run()))
        finally:
            watch.cancel()
            await outlast(watch)

    async def _await_readiness(self, step: Step) -> None:
        with self._shared.containment.of(self._guid, "become ready", then=self._end_of_internal_error):
            await step.ready.wait()
            self._become_ready()

    def _become_ready(self) -> None:
        if self._destruction.forced or self._group is None:
            return
        if self.container.state is not ContainerState.CREATED:
            return
        move = BecomeReady(routable=self._group.routable_when_ready)
        self._shared.store.move(self._guid, move, trace_id=self._trace_id)
        self._group.note_running()
        if self._readiness is not None:
            self._flip_readiness(self._readiness)

    def _flip_readiness(self, routable: bool) -> None:
        """Record the result of a readiness check; it takes effect once the process group is ready."""
        self._readiness = routable
        self._shared.records.checked(self._guid, readiness=routable)
        if self._destruction.forced:
            return
        container = self.container
        if container.state is ContainerState.RUNNING and container.routable != routable:
            self._shared.store.move(self._guid, FlipReadiness(routable=routable), trace_id=self._trace_id)


def _report(guid: str, error: BaseException) -> None:
    """Log an expected error at level info, any other error with its trace."""
    if is_interrupt(error):
        return
    data = {"data": {"guid": guid, "error": str(error)}}
    unforeseen = [leaf for leaf in leaves(error) if not is_expected(leaf)]
    for leaf in unforeseen:
        log.error("unexpected-container-error", exc_info=leaf, extra=data)
    if not unforeseen:
        log.info("container-ended-with-error", extra=data)
