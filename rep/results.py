"""Result files of tasks: at most 51200 bytes."""

from __future__ import annotations

from executor.api import ExecutorAPI
from executor.errors import FileTooLarge

RESULT_LIMIT = 51200
"""Bytes a result file may have (50 KiB)."""


class ResultTooLarge(Exception):
    """More bytes than a result may have."""

    def __init__(self) -> None:
        super().__init__(f"result file is too large (over {RESULT_LIMIT} bytes)")


async def fetch_result(executor: ExecutorAPI, guid: str, path: str) -> str:
    """The content of a file of a container; a directory gives an empty text.

    A protobuf string has to be UTF-8, so other bytes become U+FFFD. Raises ResultTooLarge, ExecutorError.
    """
    try:
        content = await executor.read_file(guid, path, RESULT_LIMIT)
    except FileTooLarge as error:
        raise ResultTooLarge from error
    return content.decode("utf-8", "replace")
