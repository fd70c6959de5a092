"""The credential runner and the steps as one group: order of start and end, and the reported error."""

from __future__ import annotations

import asyncio

import pytest

from executor.identity.authority import IdentityError
from executor.steps.base import StepError
from executor.steps.group import CredentialedGroup, CredentialRunnerExited

pytestmark = pytest.mark.unit


class Member:
    """Runs until the test, or an interrupt, ends it."""

    def __init__(self, name: str, story: list[str], *, last_words: Exception | None = None) -> None:
        self.ready = asyncio.Event()
        self.began = asyncio.Event()
        self._name = name
        self._story = story
        self._last_words = last_words
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception | None = None) -> None:
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    async def run(self) -> None:
        self._story.append(f"{self._name} begins")
        self.began.set()
        try:
            await self._end
        except asyncio.CancelledError:
            self._story.append(f"{self._name} interrupted")
            if self._last_words is not None:
                raise self._last_words from None
            raise


async def test_steps_begin_with_the_first_credentials_and_end_the_runner() -> None:
    story: list[str] = []
    credentials, steps = Member("credentials", story), Member("steps", story)
    group = CredentialedGroup(credentials, steps)
    assert group.ready is steps.ready
    task = asyncio.create_task(group.run())
    await credentials.began.wait()
    assert not steps.began.is_set()
    credentials.ready.set()
    await steps.began.wait()
    steps.end()
    await task
    assert story == ["credentials begins", "steps begins", "credentials interrupted"]


async def test_without_first_credentials_nothing_is_run() -> None:
    story: list[str] = []
    credentials, steps = Member("credentials", story), Member("steps", story)
    credentials.end(IdentityError("disk full"))
    with pytest.raises(CredentialRunnerExited, match="cred-manager-runner exited: disk full"):
        await CredentialedGroup(credentials, steps).run()
    assert story == ["credentials begins"]


async def test_a_failed_renewal_ends_the_steps_and_is_the_reason() -> None:
    story: list[str] = []
    credentials = Member("credentials", story)
    steps = Member("steps", story, last_words=StepError("exceeded graceful shutdown interval"))
    task = asyncio.create_task(CredentialedGroup(credentials, steps).run())
    credentials.ready.set()
    await steps.began.wait()
    credentials.end(IdentityError("disk full"))
    with pytest.raises(CredentialRunnerExited, match=r"^cred-manager-runner exited: disk full$"):
        await task
    assert story[-1] == "steps interrupted"


@pytest.mark.parametrize("last_words", [None, IdentityError("while shutting down")])
async def test_the_steps_error_stands_whatever_the_runner_says_of_being_stopped(
    last_words: Exception | None,
) -> None:
    credentials, steps = Member("credentials", [], last_words=last_words), Member("steps", [])
    task = asyncio.create_task(CredentialedGroup(credentials, steps).run())
    credentials.ready.set()
    await steps.began.wait()
    steps.end(StepError("APP: Exited with status 1"))
    with pytest.raises(StepError, match="APP: Exited with status 1"):
        await task


@pytest.mark.parametrize(
    ("last_words", "raised"), [(None, asyncio.CancelledError), (StepError("process did not exit"), StepError)]
)
async def test_an_interrupt_goes_to_the_runner_and_then_to_the_steps(
    last_words: Exception | None, raised: type[BaseException]
) -> None:
    story: list[str] = []
    credentials = Member("credentials", story, last_words=IdentityError("late"))
    steps = Member("steps", story, last_words=last_words)
    task = asyncio.create_task(CredentialedGroup(credentials, steps).run())
    credentials.ready.set()
    await steps.began.wait()
    task.cancel()
    with pytest.raises(raised):
        await task
    assert story[-2:] == ["credentials interrupted", "steps interrupted"]


async def test_an_interrupt_before_the_first_credentials_runs_nothing() -> None:
    story: list[str] = []
    credentials, steps = Member("credentials", story), Member("steps", story)
    task = asyncio.create_task(CredentialedGroup(credentials, steps).run())
    await credentials.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert story == ["credentials begins", "credentials interrupted"]
