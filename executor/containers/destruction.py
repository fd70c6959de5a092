"""Destruction of a container: the regular one, and one by force where the regular one cannot succeed.

The regular destruction keeps container and resources if a part fails, so that it can be repeated. By force,
each part runs even if the previous one failed, and logs its failure. If the engine cannot destroy the
container, its address and ports stay reserved because it may still use them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager

from executor.containers.facilities import Facilities
from executor.containment import InternalError
from executor.errors import ExecutorError
from executor.model import Container
from executor.steps.base import outlast

log = logging.getLogger(__name__)

KILL_LIMIT_S = 10.0
"""Time for the engine to kill and remove a container; after it the slot is released anyway."""

FORCED = "container was destroyed by force"
"""Failure reason of a container that was not completed before."""


class Destruction:
    """Destroys one container. Only one regular destruction runs at a time."""

    def __init__(self, guid: str, shared: Facilities) -> None:
        self._guid = guid
        self._shared = shared
        self._forced = asyncio.Event()
        self._in_progress = False

    @property
    def forced(self) -> bool:
        """Whether the container is being destroyed by force; its other work then has no effect."""
        return self._forced.is_set()

    @property
    def in_progress(self) -> bool:
        """Whether a regular destruction has begun and not ended."""
        return self._in_progress

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Mark a regular destruction as in progress. An unforeseen error becomes an InternalError."""
        self._in_progress = True
        try:
            yield
        except ExecutorError:
            raise
        except Exception as error:
            log.error("unexpected-deletion-error", exc_info=error, extra=self._about(error=str(error)))
            raise InternalError from error
        finally:
            self._in_progress = False

    def force(self) -> None:
        """Abort a regular destruction, because the container is destroyed by force."""
        self._forced.set()

    async def unless_forced(self, work: Coroutine[object, object, None]) -> bool:
        """Await ``work`` and raise its errors.

        Returns False as soon as the container is destroyed by force; ``work`` is then cancelled, and its end
        is logged.
        """
        doing = asyncio.create_task(work)
        forcing = asyncio.create_task(self._forced.wait())
        try:
            await asyncio.wait({doing, forcing}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            doing.cancel()
            await outlast(doing)
            raise
        finally:
            forcing.cancel()
        if self.forced:
            doing.cancel()
            self._shared.scheduler.spawn_for(self._guid, lambda: self._log_end(doing))
            return False
        await doing
        return True

    async def regular(
        self, container: Container, close: Callable[[], Awaitable[None]], on_destroyed: Callable[[], None]
    ) -> None:
        """Destroy the container and release its resources. Raises ExecutorError.

        close: ends the steps. on_destroyed: called once the engine has destroyed the container.
        """
        shared, config = self._shared, container.run_info.log_config
        shared.app_log.destroying(config, self._guid)
        try:
            try:
                with shared.meter.timed(
                    succeeded="GardenContainerDestructionSucceededDuration",
                    failed="GardenContainerDestructionFailedDuration",
                ):
                    await shared.engine.destroy(self._guid)
                    await shared.network.detach(self._guid)
            except Exception:
                shared.app_log.destruction_failed(config, self._guid)
                raise
            on_destroyed()
            with shared.containment.of(self._guid, "close steps"):
                await close()
            shared.app_log.destroyed(config, self._guid)
            await shared.creator.release(self._guid)
        finally:
            if not self.forced:
                await shared.creator.remove_files(self._guid)

    async def kill(self) -> None:
        """Kill the container and release its resources on the host, for at most ``KILL_LIMIT_S``.

        What is not done by then goes on. Errors are logged.
        """
        work = self._shared.scheduler.spawn_for(self._guid, self._kill)
        await asyncio.wait({work}, timeout=KILL_LIMIT_S)
        if not work.done():
            log.error("let-go-of-container-the-engine-still-has", extra=self._about(after_s=KILL_LIMIT_S))

    async def _kill(self) -> None:
        guid, shared = self._guid, self._shared
        if await self._tried("destroy", shared.engine.destroy(guid)):
            await self._tried("detach", shared.network.detach(guid))
        await self._tried("release", shared.creator.release(guid))
        await self._tried("remove files", shared.creator.remove_files(guid))

    async def _tried(self, what: str, work: Coroutine[object, object, None]) -> bool:
        try:
            await work
        except ExecutorError as error:
            log.error("forced-destruction-failed", extra=self._about(step=what, error=str(error)))
            return False
        except Exception:  # the next part of the destruction is tried all the same
            log.exception("forced-destruction-failed", extra=self._about(step=what))
            return False
        return True

    async def _log_end(self, doing: asyncio.Task[None]) -> None:
        await outlast(doing)
        error = error_of(doing)
        log.info("abandoned-deletion-ended", extra=self._about(error="" if error is None else repr(error)))

    def _about(self, **data: object) -> dict[str, dict[str, object]]:
        return {"data": {"guid": self._guid, **data}}


def error_of(task: asyncio.Task[object]) -> BaseException | None:
    """The error of an ended task; None for success."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()
