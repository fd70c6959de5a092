"""The debug server: log level, and redaction of the log."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from cell.assembly import lagerlog
from rep.debug import LEVELS, debug_application
from rep.redaction import REDACTED, Redaction

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("level", LEVELS)
async def test_the_level_is_changed_and_told(method: str, level: str) -> None:
    root = logging.Logger("root", logging.INFO)
    async with TestClient(TestServer(debug_application(root))) as client:
        async with client.request(method, "/log-level", data=level.encode()) as answer:
            assert (answer.status, await answer.text()) == (200, "")
        assert root.level == lagerlog.LEVELS[level]
        async with client.get("/log-level") as answer:
            assert await answer.text() == f"{level}\n"


@pytest.mark.parametrize("body", [b"", b"loud", b"\xff\xfe", b"x" * 100_000])
async def test_what_is_no_level_changes_nothing(body: bytes) -> None:
    root = logging.Logger("root", logging.INFO)
    async with TestClient(TestServer(debug_application(root))) as client:
        async with client.post("/log-level", data=body) as answer:
            assert answer.status in (400, 413)
        assert root.level == logging.INFO


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"guid": "g", "n": 1}, {"guid": "g", "n": 1}),
        ({"image_password": "x", "Token": 5}, {"image_password": REDACTED, "Token": REDACTED}),
        ({"a": {"pwd": "x", "b": ["c"]}}, {"a": {"pwd": REDACTED, "b": ["c"]}}),
        ({"error": "GET https://u:secret@host/x: 404"}, {"error": REDACTED}),
        ({"url": "https://host/x"}, {"url": "https://host/x"}),
        ({"key": "-----BEGIN RSA PRIVATE KEY-----\nabc"}, {"key": REDACTED}),
        ({"list": ["AKIAABCDEFGHIJKLMNOP", "ok"]}, {"list": [REDACTED, "ok"]}),
        ({"hash": "$6$salt$0123456789abcdefghij"}, {"hash": REDACTED}),
        ({"ours": "internal-17"}, {"ours": REDACTED}),
    ],
)
def test_secrets_are_not_shown(data: dict[str, Any], shown: dict[str, Any]) -> None:
    assert Redaction([r"internal-\d+"])(data) == shown


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("redacted")
    yield logger
    for handler in logger.handlers:
        handler.close()


def test_nothing_of_an_entry_is_shown_that_is_secret(log: logging.Logger) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(lagerlog.LagerFormatter("rep", redact=Redaction()))
    log.addHandler(handler)
    try:
        raise ValueError("cannot fetch https://user:hunter2@host/")
    except ValueError:
        log.exception("failed", extra={"data": {"guid": "g", "password": "hunter2"}})
    data = json.loads(written.getvalue())["data"]
    assert "hunter2" not in written.getvalue()
    assert data == {"guid": "g", "password": REDACTED, "trace": REDACTED, "error": REDACTED}
