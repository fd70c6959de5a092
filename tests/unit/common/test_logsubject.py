"""Entries about a container have its guid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from common.logsubject import SubjectFilter, about

pytestmark = pytest.mark.unit

logger = logging.getLogger("rep.subject-test")


@pytest.fixture
def data() -> Iterator[list[Any]]:
    """The data of each record."""
    seen: list[Any] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(getattr(record, "data", None))

    handler = Keeping()
    handler.addFilter(SubjectFilter())
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield seen
    logger.setLevel(before)
    logger.removeHandler(handler)


def test_an_entry_has_the_guid_unless_it_names_another_one(data: list[Any]) -> None:
    with about("one"):
        logger.info("bare")
        logger.info("with data", extra={"data": {"size": 1}})
        logger.info("about another", extra={"data": {"guid": "two"}})
        with about("inner"):
            logger.info("inner")
    logger.info("after")
    assert data == [
        {"guid": "one"},
        {"guid": "one", "size": 1},
        {"guid": "two"},
        {"guid": "inner"},
        None,
    ]


async def test_tasks_keep_the_subject_in_which_they_began(data: list[Any]) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        logger.info("in a task")
        await asyncio.to_thread(logger.info, "in a thread")

    with about("one"):
        first = asyncio.create_task(work())
    with about("two"):
        second = asyncio.create_task(work())
    await asyncio.gather(first, second)
    assert sorted(each["guid"] for each in data) == ["one", "one", "two", "two"]
