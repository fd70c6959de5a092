"""Result files of tasks: at most 51200 bytes."""

from __future__ import annotations

from executor.api import ExecutorAPI
from executor.errors import FileTooLarge

RESULT_LIMIT = 51200
"""Maximum size of a result file in bytes (50 KiB)."""


class ResultTooLarge(Exception):
    """The result file exceeds the limit."""

    def __init__(self) -> None:
        super().__init__(f"result file is too large (over {RESULT_LIMIT} bytes)")


async def fetch_result(executor: ExecutorAPI, guid: str, path: str) -> str:
    """The content of a file in a container; empty for a directory.

    A protobuf string must be UTF-8, so other bytes become U+FFFD. Raises ResultTooLarge, ExecutorError.
    """
    try:
        content = await executor.read_file(guid, path, RESULT_LIMIT)
    except FileTooLarge as error:
        raise ResultTooLarge from error
    return content.decode("utf-8", "replace")
