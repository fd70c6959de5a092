"""Start requests from a BBS to an auctioneer. The other messages are in ``bbs.models.auction``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from bbs.models.auction import Demand, Document, Task
from bbs.models.codec import from_json, parse
from bbs.models.invalid import InvalidDocument, mismatch
from bbs.models.meta import FLATTEN, Int32, Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LRPStartRequest:
    """Instances of one process that need a cell."""

    process_guid: str = ""
    domain: str = ""
    indices: tuple[Int32, ...] = ()
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)

    def to_json(self) -> Document:
        return {
            "process_guid": self.process_guid,
            "domain": self.domain,
            "indices": list(self.indices),
            **self.demand.to_json(),
        }

    def problem(self) -> str:
        """Why the request is invalid; empty if it is valid."""
        if not self.process_guid:
            return "process guid is empty"
        if not self.domain:
            return "domain is empty"
        if not self.indices:
            return "indices must not be empty"
        if min(self.indices) < 0:
            return "indices must not be negative"
        return self.demand.problem()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStartRequest:
    """A task that needs a cell."""

    task_guid: Annotated[str, Json("TaskGuid")] = ""
    domain: Annotated[str, Json("Domain")] = ""
    demand: Annotated[Demand, FLATTEN] = field(default_factory=Demand)

    def to_json(self) -> Document:
        return Task(task_guid=self.task_guid, domain=self.domain, demand=self.demand).to_json()

    def problem(self) -> str:
        """Why the request is invalid; empty if it is valid."""
        if not self.task_guid:
            return "task guid is empty"
        if not self.domain:
            return "domain is empty"
        return self.demand.problem()


def lrp_start_requests(body: str | bytes) -> tuple[LRPStartRequest, ...]:
    """The body of ``POST /v1/lrps``. Raises InvalidDocument."""
    return _read_list(LRPStartRequest, body)


def task_start_requests(body: str | bytes) -> tuple[TaskStartRequest, ...]:
    """The body of ``POST /v1/tasks``. Raises InvalidDocument."""
    return _read_list(TaskStartRequest, body)


def _read_list(cls: type[T], body: str | bytes) -> tuple[T, ...]:
    elements = parse(body)
    if not isinstance(elements, list):
        mismatch("a list of start requests", elements)
    read: list[T] = []
    for position, element in enumerate(elements):
        try:
            read.append(from_json(cls, element))
        except InvalidDocument as error:
            raise error.within(f"[{position}]") from None
    return tuple(read)
