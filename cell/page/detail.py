"""One container for a page: facts, steps, moments and log lines, each time only what is new."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from cell.page import rows
from cell.page.board import Row, encoded
from cell.story.progress import StepProgressed
from cell.story.stories import Story
from cell.story.tails import Tail, TailLine
from executor.model import Container, ContainerMetrics

LABEL_MOST: Final = 300
"""Characters of a step's label."""

_QUERY: Final = re.compile(r"(\w+://[^\s?]+)\?\S+")
"""URLs with a query, which may be a signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the news of a container come from.

    redact: removes secrets from a step's label. remark: what is missing here, and why.
    """

    story: Callable[[], Story | None]
    tail: Callable[[], Tail | None]
    reading: Callable[[], ContainerMetrics | None]
    cell_id: str
    redact: Callable[[str], str]
    remark: str = ""


class Follower:
    """What one reader has got of a container."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._story: Story | None = None
        self._changes = -1
        self._about = b""
        self._steps: dict[str, bytes] = {}
        self._moments: list[dict[str, object]] = []
        self._seen = 0

    def news(self) -> dict[str, object] | None:
        """What is new since the last call; None if nothing is.

        ``about``: facts. ``steps``: changed rows, in the order of the tree. ``moments``: all. ``lines``: new
        log lines; ``missing``: the number of lines before them that are not kept any more.
        """
        news: dict[str, object] = {}
        story = self._sources.story() or self._story
        if story is not None:
            self._tell(story, news)
        self._read(news)
        return news or None

    def _tell(self, story: Story, news: dict[str, object]) -> None:
        about = facts(story.container, self._sources.cell_id, self._sources.reading())
        about = {**about, "removed": story.removed, "unrecorded": story.unrecorded}
        text = encoded(about)
        if text != self._about:
            self._about = text
            news["about"] = about
        if story is self._story and story.changes == self._changes:
            return
        self._story, self._changes = story, story.changes
        changed = []
        for row in steps(story, self._sources.redact):
            text = encoded(row)
            path = str(row["path"])
            if self._steps.get(path) != text:
                self._steps[path] = text
                changed.append(row)
        if changed:
            news["steps"] = changed
        moments = rows.moments(story.moments)
        if moments != self._moments:
            self._moments = moments
            news["moments"] = moments

    def _read(self, news: dict[str, object]) -> None:
        tail = self._sources.tail()
        if tail is None:
            self._seen = 0
            return
        if tail.count < self._seen:  # another tail: the former one was dropped
            self._seen = 0
        if tail.count == self._seen:
            return
        lines = tail.after(self._seen)
        missing = tail.count - self._seen - len(lines)
        self._seen = tail.count
        news["lines"] = [log_line(line) for line in lines]
        if missing:
            news["missing"] = missing


def facts(container: Container, cell_id: str, metrics: ContainerMetrics | None) -> dict[str, object]:
    """What a container is. Its variables and credentials are never shown."""
    info = container.run_info
    make = rows.task_on_cell if rows.is_task(container) else rows.instance_on_cell
    row = {**make(container, cell_id, container.allocated_at // rows.NS_PER_MS)}
    row.pop("mem", None)  # of a Task: its limit; here it is what the container uses
    return {
        **row,
        **rows.reading(container, metrics),
        "task": rows.is_task(container),
        "name": rows.name_of(container),
        "domain": rows.named(container.tags.get("domain", "")),
        "allocated": container.allocated_at // rows.NS_PER_MS,
        "image": rows.cut(info.root_fs, rows.TEXT_MOST),
        "memory_mb": container.memory_mb,
        "disk_mb": container.disk_mb,
        "pids": container.max_pids,
        "stopped": container.run_result.stopped,
        "retryable": container.run_result.retryable,
    }


def steps(story: Story, redact: Callable[[str], str]) -> Iterator[Row]:
    """The steps of a container with their progress: those of its tree, then those that its cell added."""
    known = set()
    for each in story.outline():
        known.add(each.path)
        label = redact(_QUERY.sub(r"\1?...", each.label))
        yield _step(each.path, each.depth, each.kind, label, story.steps.get(each.path))
    for path, progress in story.steps.items():
        if path not in known:
            yield _step(path, 0, path.rpartition("/")[2], "", progress)


def _step(path: str, depth: int, kind: str, label: str, progress: StepProgressed | None) -> Row:
    progress = progress or StepProgressed()
    row: dict[str, object] = {
        "path": path,
        "depth": depth,
        "kind": kind,
        "label": rows.cut(label, LABEL_MOST),
        "state": progress.state.value,
    }
    if progress.started_ns:
        row["started"] = progress.started_ns // rows.NS_PER_MS
    if progress.ended_ns:
        row |= {"ended": progress.ended_ns // rows.NS_PER_MS, "seconds": round(progress.seconds, 4)}
    if progress.transferred is not None:
        row |= {"done": progress.transferred, "total": progress.total}
    if progress.exit_status is not None:
        row["exit"] = progress.exit_status
    if progress.reason:
        row["reason"] = rows.cut(progress.reason)
    if progress.cause:
        row["cause"] = rows.cut(progress.cause)
    return row


def log_line(line: TailLine) -> list[object]:
    """A line as ``[ms, is stderr, source, text, missing bytes]``."""
    text = line.payload.decode(errors="replace")
    return [line.time_ns // rows.NS_PER_MS, int(line.is_error), rows.named(line.source), text, line.cut]
