"""A real Prometheus scrapes a real cell: rules are healthy, and the panels of both dashboards have data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from cell.development.freeport import free_port
from cell.development.local import local_cell
from cell.documentation import dashboards
from tests.support.paths import REPOSITORY
from tests.support.thorough import THOROUGH
from tests.support.waiting import until_so

pytestmark = [pytest.mark.docker, pytest.mark.skipif(not THOROUGH, reason="make test-all")]

RULES = REPOSITORY / "packaging/prometheus/diego-cell.rules.yml"
APP = {
    "process_guid": "watched",
    "domain": "metrics",
    "rootfs": "preloaded:busybox",
    "instances": 2,
    "action": {"run": {"path": "/bin/sh", "args": ["-c", "echo hello; exec sleep 1000"], "user": "root"}},
    "memory_mb": 32,
    "disk_mb": 32,
    "log_guid": "app-guid",
}
EMPTY = (
    "volume_mount",
    "cache_fetch_duration",
    "call_retries",
    'outcome="failed"',
    'outcome!="succeeded"',
    "failed|unavailable",
)
"""Queries about what does not happen in this test."""


class Prometheus:
    """A running server, by its HTTP API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def ask(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=query) as answer:
            body = await answer.json()
        assert body["status"] == "success", body
        return body["data"]

    async def values(self, expression: str) -> list[Any]:
        return list((await self.ask("query", query=expression))["result"])


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    config = folder / "prometheus.yml"
    scraped = {"job_name": "diego-cell", "static_configs": [{"targets": [target]}]}
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [scraped],
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    server = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            asked = Prometheus(f"http://{address}", session)

            async def scrapes() -> bool:
                try:
                    return bool(await asked.values('up{job="diego-cell"} == 1'))
                except aiohttp.ClientError:
                    return False

            await until_so(scrapes)
            yield asked
    finally:
        server.terminate()
        await server.wait()


async def test_panels_have_data_and_no_alert_is_broken(tmp_path: Path) -> None:
    settings = tmp_path / "rep.json"
    settings.write_text(json.dumps({"log_sinks": [f"file:{tmp_path}/apps.log"]}))
    async with local_cell(tmp_path / "state", arguments=["--config", str(settings)]) as cell:
        admin = urlsplit(cell.cells[0]["admin"]).netloc
        async with prometheus(tmp_path, admin) as server:
            await cell.receptor.expect(201, "POST", "/v1/desired_lrps", APP)
            await cell.receptor.running("watched", 2)

            async def seen_twice() -> bool:
                """A rate needs several scrapes after a series appears."""
                name = "diego_cell_container_start_duration_seconds_count"
                return bool(await server.values(f"count_over_time({name}[1m]) > 3"))

            await until_so(seen_twice)
            expressions = {text for dashboard in dashboards.ALL for text in dashboard.expressions()}
            blind = set()
            for expression in expressions:
                if any(part in expression for part in EMPTY):
                    continue
                asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
                if not await server.values(asked):
                    blind.add(expression)
            assert blind == set()

            async def evaluated() -> bool:
                [group] = (await server.ask("rules"))["groups"]
                return all(rule["health"] != "unknown" for rule in group["rules"])

            await until_so(evaluated)
            [group] = (await server.ask("rules"))["groups"]
            assert {rule["name"]: rule["lastError"] for rule in group["rules"] if rule.get("lastError")} == {}
            assert await server.values('ALERTS{alertstate="firing"}') == []
