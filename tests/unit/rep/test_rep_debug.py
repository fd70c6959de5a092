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
from common.loglevels import LEVELS, OWN_PACKAGES, current_level, set_level
from rep.debug import debug_application
from rep.redaction import REDACTED, Redaction
from tests.support.loglevels import kept_levels

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    with kept_levels():
        yield


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("level", LEVELS)
async def test_the_level_is_changed_and_told(method: str, level: str) -> None:
    """For the packages of the cell; libraries stay as quiet as they are."""
    set_level("info")
    async with TestClient(TestServer(debug_application())) as client:
        async with client.request(method, "/log-level", data=level.encode()) as answer:
            assert (answer.status, await answer.text()) == (200, "")
        async with client.get("/log-level") as answer:
            assert await answer.text() == f"{level}\n"
    for package in OWN_PACKAGES:
        assert logging.getLogger(f"{package}.module").getEffectiveLevel() == LEVELS[level]
    assert logging.getLogger("docker.api").getEffectiveLevel() >= logging.WARNING


async def test_a_change_of_the_level_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    set_level("error")
    async with TestClient(TestServer(debug_application())) as client, client.put("/log-level", data=b"debug"):
        pass
    assert [record.__dict__["data"] for record in caplog.records if record.name == "rep.debug"] == [
        {"level": "debug", "before": "error"}
    ]


@pytest.mark.parametrize("body", [b"", b"loud", b"\xff\xfe", b"x" * 100_000])
async def test_what_is_no_level_changes_nothing(body: bytes) -> None:
    set_level("info")
    async with (
        TestClient(TestServer(debug_application())) as client,
        client.post("/log-level", data=body) as answer,
    ):
        assert answer.status in (400, 413)
    assert current_level() == "info"


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
