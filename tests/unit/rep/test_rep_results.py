"""Result files: at most 50 KiB, as text."""

from __future__ import annotations

import pytest

from executor.errors import NoSuchFile
from rep.results import RESULT_LIMIT, ResultTooLarge, fetch_result
from tests.support.rep_doubles import FakeExecutor, task_container

pytestmark = pytest.mark.unit


@pytest.fixture
def guid(executor: FakeExecutor) -> str:
    container = task_container()
    executor.put(container)
    return container.guid


@pytest.mark.parametrize("size", [0, 1, RESULT_LIMIT])
async def test_content_up_to_the_limit(executor: FakeExecutor, guid: str, size: int) -> None:
    executor.files["/result"] = b"x" * size
    assert await fetch_result(executor, guid, "/result") == "x" * size


async def test_one_byte_more_is_too_large(executor: FakeExecutor, guid: str) -> None:
    executor.files["/result"] = bytes(RESULT_LIMIT + 1)
    with pytest.raises(ResultTooLarge, match=r"^result file is too large \(over 51200 bytes\)$"):
        await fetch_result(executor, guid, "/result")


async def test_bytes_that_are_no_text_are_replaced(executor: FakeExecutor, guid: str) -> None:
    executor.files["/result"] = b"a\xffb"
    assert await fetch_result(executor, guid, "/result") == "a\ufffdb"


async def test_a_missing_file_is_an_error(executor: FakeExecutor, guid: str) -> None:
    with pytest.raises(NoSuchFile):
        await fetch_result(executor, guid, "/result")
