"""The journal's interface: rows, changes, errors.

The values of rows are opaque bytes: the owner of a row encodes and decodes them.

An *intent* is written before its effect (a container is created, a process started) and a
*result* after it. The policy for writes that fail while the agent runs:

- :meth:`Journal.write` is for intents. If it raises, the effect must not happen; the failure is retryable.
- :meth:`Journal.record` is for results. The effect has happened, so a result that cannot be stored stays in
  memory and is retried until it is stored. Meanwhile the journal is not healthy, and neither is the cell.
- :meth:`Journal.post` is :meth:`Journal.record` without the wait, for code that must not suspend.

All three share one order: when a write is stored, so is all that was posted before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from executor.errors import ExecutorError


class FailureReason(Enum):
    """Why the journal cannot be used; the value is the text for operators."""

    FULL = "the disk is full: free some space"
    READ_ONLY = "the file system or the file is read-only: make it writable"
    DAMAGED = "the file is damaged: restart the cell, which then starts a new file"
    IO = "the disk or the file system fails"
    STALLED = "the disk does not answer"
    NEWER = (
        "a newer version wrote the file: start that version again, or drain the cell with it and then move "
        "the file away"
    )
    CLOSED = "the journal is closed"


class JournalError(ExecutorError):
    """The journal could not be read or written. Nothing of the failed write is stored."""

    text = "the cell cannot write its journal"

    def __init__(self, failure: FailureReason, detail: str = "") -> None:
        super().__init__(f"{self.text}: {failure.value}" + (f" ({detail})" if detail else ""))
        self.failure = failure

    @property
    def retryable(self) -> bool:
        """Whether the same write may succeed later, on this cell or another."""
        return self.failure is not FailureReason.NEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRow:
    """A container. engine_id: its id in the engine; empty before it is created there."""

    guid: str
    value: bytes
    engine_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A leaf of a container's step tree, that began or ended. path: its place in the tree."""

    guid: str
    path: str
    ended: bool
    value: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    """A fact about the cell itself, such as the owner of its presence."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """The outcome of a container, which the control plane has not recorded yet."""

    guid: str
    value: bytes


Row: TypeAlias = ContainerRow | StepRow | FactRow | OutcomeRow


@dataclass(frozen=True, slots=True)
class Put:
    """Insert a row, or replace the one with the same key."""

    row: Row


@dataclass(frozen=True, slots=True)
class DeleteContainer:
    """Delete a container with its steps. Its outcome stays."""

    guid: str


@dataclass(frozen=True, slots=True)
class DeleteFact:
    key: str


@dataclass(frozen=True, slots=True)
class DeleteOutcome:
    guid: str


Change: TypeAlias = Put | DeleteContainer | DeleteFact | DeleteOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All rows. Steps are in the order of their last change, so ended steps are in the order of their ends;
    outcomes are in the order of their first writes."""

    containers: Sequence[ContainerRow] = ()
    steps: Sequence[StepRow] = ()
    facts: Mapping[str, bytes] = field(default_factory=dict)
    outcomes: Sequence[OutcomeRow] = ()


class Journal(Protocol):
    """An open journal."""

    @property
    def contents(self) -> Contents:
        """The rows at the time of opening."""
        ...

    @property
    def same_boot(self) -> bool:
        """Whether the last agent ran since the last boot of the machine: only then can its processes live."""
        ...

    @property
    def failure(self) -> FailureReason | None:
        """Why the last write failed; None if it succeeded."""
        ...

    async def write(self, *changes: Change) -> None:
        """Store the changes in one transaction; on return they survive a kill of the agent.

        Writes are stored in the order of their calls. Without changes it waits for the earlier ones.

        Raises JournalError; then nothing is stored, except that after ``STALLED`` the changes may be stored
        later. Raises UnicodeEncodeError for a key with a lone surrogate.
        """
        ...

    async def record(self, *changes: Change) -> None:
        """Store the changes like :meth:`write`, or keep them in memory until a retry succeeds.

        Raises JournalError only if the journal is closed.
        """
        ...

    def post(self, *changes: Change) -> None:
        """Store the changes like :meth:`record`, in the background. A closed journal logs and drops them."""
        ...


class NoJournal:
    """The journal of a cell whose containers end with its process: it stores nothing."""

    contents = Contents()
    same_boot = False
    failure: FailureReason | None = None

    async def write(self, *changes: Change) -> None:
        return

    async def record(self, *changes: Change) -> None:
        return

    def post(self, *changes: Change) -> None:
        return
