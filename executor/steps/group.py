"""The process group of a container with an identity: the credential runner, and the container's steps.

The steps begin when the first credentials are in place. Both end in that order when the group is
interrupted, and whichever ends first by itself takes the other along. The first error is the group's:
what the other one says about having been stopped is not news.
"""

from __future__ import annotations

import asyncio

from executor.errors import ExecutorError
from executor.identity.instances import Runner
from executor.steps.base import Step, outlast, told_text


class CredentialRunnerExited(ExecutorError):
    """An instance that cannot have credentials does not go on."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(f"cred-manager-runner exited: {None if error is None else told_text(error)}")


class CredentialedGroup:
    """Implements :class:`executor.steps.base.Step`. Ready when the steps are."""

    def __init__(self, credentials: Runner, steps: Step) -> None:
        self._credentials = credentials
        self._steps = steps
        self.ready = steps.ready

    async def run(self) -> None:
        """Raises CredentialRunnerExited, what the steps raise, or CancelledError when interrupted."""
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
