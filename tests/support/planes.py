"""A control plane on free ports of loopback, and small workloads for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

from bbs.client.http import HTTPBBSClient
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.actions import RunAction
from bbs.models.common import MetricTagValue
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.task import TaskDefinition
from bbs.serving.address import Address
from bbs.wire import locket as locket_wire
from tests.support.waiting import PATIENCE_S

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)
LRP = DesiredLRP(
    process_guid="web",
    domain="d",
    root_fs="docker:///x",
    instances=1,
    action=RunAction(path="/x", user="u"),
    metric_tags={"source_id": MetricTagValue(static="web")},
)
DEFINITION = TaskDefinition(root_fs="docker:///x", action=RunAction(path="/x", user="u"))


@pytest.fixture
async def running_plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    config = PlaneConfig(state_dir=tmp_path / "state", addresses=EVERYWHERE, upload_polling_interval_s=0.05)
    async with ControlPlane(config) as running:
        yield running


@pytest.fixture
async def plane_client(running_plane: ControlPlane) -> AsyncIterator[HTTPBBSClient]:
    async with HTTPBBSClient(running_plane.bbs_url) as client:
        yield client


@pytest.fixture
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def plane_locket(running_plane: ControlPlane) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(str(running_plane.addresses.locket)) as channel:
        yield channel


@pytest.fixture
def no_trace(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a test sends may lead to no trace in the log."""
    caplog.set_level(logging.INFO)
    yield
    for when in ("setup", "call", "teardown"):
        for record in caplog.get_records(when):
            assert record.exc_info is None, record.getMessage() + str(record.exc_info)


async def raw(address: Address, request: bytes) -> bytes:
    """The head of an answer to bytes that no client library would send."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request)
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        finally:
            writer.close()


async def called(channel: grpc.aio.Channel, method: locket_wire.Method[Any, Any], body: bytes) -> Any:
    """The answer as bytes, or the status of a refusal."""
    call = channel.unary_unary(method.path, request_serializer=None, response_deserializer=None)
    try:
        return await call(body, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
