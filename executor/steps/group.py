"""Process group of a container with an instance identity: the credential runner and the steps.

The steps start when the first credentials are written. An interrupt stops the runner first, then the steps.
If one of them ends by itself, the other is stopped. The group raises the first error; errors of the stopped
part are dropped.
"""

from __future__ import annotations

import asyncio

from executor.errors import ExecutorError
from executor.identity.instances import Runner
from executor.steps.base import Step, outlast, public_text


class CredentialRunnerExited(ExecutorError):
    """The credential runner ended; the instance cannot continue without valid credentials."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(f"cred-manager-runner exited: {None if error is None else public_text(error)}")


class CredentialedGroup:
    """Implements :class:`executor.steps.base.Step`. Ready when the steps are ready."""

    def __init__(self, credentials: Runner, steps: Step) -> None:
        self._credentials = credentials
        self._steps = steps
        self.ready = steps.ready

    async def run(self) -> None:
        """Raises CredentialRunnerExited, the steps' errors, or CancelledError when interrupted."""
        credentials = asyncio.create_task(self._credentials.run())
        try:
            await self._first_credentials(credentials)
            await self._run_steps(credentials)
        finally:
            credentials.cancel()
            await outlast(credentials)

    async def _first_credentials(self, credentials: asyncio.Task[None]) -> None:
        written = asyncio.create_task(self._credentials.ready.wait())
        try:
            await asyncio.wait({credentials, written}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            written.cancel()
            await outlast(written)
        if credentials.done():
            raise CredentialRunnerExited(_error_of(credentials))

    async def _run_steps(self, credentials: asyncio.Task[None]) -> None:
        steps = asyncio.create_task(self._steps.run())
        failed_first = False
        try:
            await asyncio.wait({credentials, steps}, return_when=asyncio.FIRST_COMPLETED)
            failed_first = not steps.done()
        except asyncio.CancelledError:
            credentials.cancel()
            await outlast(credentials)
        if not steps.done():
            steps.cancel()
            await outlast(steps)
        if failed_first:
            raise CredentialRunnerExited(_error_of(credentials))
        steps.result()


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
