"""The embedded control plane without cells, with mutual TLS and app logs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import IdentityFiles
from bbs.client.tls import client_context
from bbs.serving.address import Address
from cell.apps.loglines import AppLog, Line
from cell.client.target import Target
from cell.development.certs import LOOPBACK, Authority
from cell.development.controlplane import Listeners, Settings, check, running_plane
from cell.errors import CommandError
from executor.logs.api import LogLine, Stream
from executor.logs.loggregator import SERVER_NAME, Agent, Loggregator, credentials
from executor.telemetry.api import Gauge, GaugeMetric, Labels
from tests.support.programs import start_cell
from tests.support.waiting import PATIENCE_S, until_so

pytestmark = pytest.mark.unit

HERE = Address("127.0.0.1", 0)
EVERYWHERE = Listeners(
    bbs=HERE, locket=HERE, auctioneer=HERE, api=HERE, file_server=HERE, logs=HERE, page=HERE, loggregator=HERE
)
BEYOND = Address("0.0.0.0", 0)


@pytest.fixture
def identity(tmp_path: Path) -> IdentityFiles:
    authority = Authority.create("test")
    return authority.issue(tmp_path / "tls", "plane", names=[*LOOPBACK, x509.DNSName(SERVER_NAME)])


@pytest.fixture
def settings(tmp_path: Path, identity: IdentityFiles) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        listeners=EVERYWHERE,
        identity=identity,
        trusted_network=False,
        allowed_hosts=(),
        upload_hosts=(),
        convergence_interval_s=10,
        bundle=None,
    )


async def test_clients_with_a_certificate_and_the_app_logs_of_cells(
    settings: Settings, identity: IdentityFiles
) -> None:
    files = identity.ca_file, identity.cert_file, identity.key_file
    async with running_plane(settings) as endpoints:
        async with HTTPBBSClient(str(endpoints["bbs"]), ssl_context=client_context(*files)) as bbs:
            assert await bbs.ping()
        shipper = Loggregator(Agent(address=str(endpoints["loggregator"]), credentials=credentials(*files)))
        log = AppLog(Target(logs=str(endpoints["logs"])), "app")
        async with shipper.running():
            shipper.emit_metric(
                GaugeMetric(
                    labels=Labels(source_id="app", instance_id="0", tags={}),
                    time_ns=1,
                    values={"cpu": Gauge(1.0, "%")},
                )
            )
            tags = {"source_type": "APP"}
            shipper.emit(LogLine(b"hello", Stream.OUT, "app", "0", "APP", 7, tags))
            shipper.emit(LogLine(b"oh", Stream.ERR, "app", "0", "APP", 8, tags))

            async def arrived() -> bool:
                return len(await log.recent()) == 2

            await until_so(arrived)
        assert await log.recent() == [Line(7, "APP", "0", "OUT", "hello"), Line(8, "APP", "0", "ERR", "oh")]


@pytest.mark.parametrize("name", ["bbs", "locket", "auctioneer"])
def test_without_certificates_these_listen_on_loopback_only(settings: Settings, name: str) -> None:
    beyond = replace(settings, listeners=replace(EVERYWHERE, **{name: BEYOND}), trusted_network=True)
    check(beyond)
    with pytest.raises(
        CommandError, match=r"0\.0\.0\.0:0 can run containers.*give --ca-cert, --cert and --key"
    ):
        check(replace(beyond, identity=None))


@pytest.mark.parametrize("name", ["api", "file_server", "logs", "page"])
def test_listeners_without_tls_leave_loopback_only_in_a_trusted_network(
    settings: Settings, name: str
) -> None:
    beyond = replace(settings, listeners=replace(EVERYWHERE, **{name: BEYOND}))
    with pytest.raises(CommandError, match=r"0\.0\.0\.0:0 can (run|read).*--trusted-network"):
        check(beyond)
    check(replace(beyond, trusted_network=True))


async def test_the_command_serves_until_a_signal(tmp_path: Path) -> None:
    archives = tmp_path / "bundle"
    archives.mkdir()
    for name in ("lifecycle", "buildpack_app_lifecycle", "docker_app_lifecycle"):
        (archives / f"{name}.tgz").write_bytes(name.encode())
    addresses = [f"--{name}-address=127.0.0.1:0" for name in ("bbs", "locket", "auctioneer", "api")]
    addresses += [f"--{name}-address=127.0.0.1:0" for name in ("file-server", "logs", "page", "loggregator")]
    state = tmp_path / "state"
    plane = await start_cell(
        "control-plane", "--state-dir", str(state), "--bundle", str(archives), *addresses
    )
    async with asyncio.timeout(PATIENCE_S):
        while (record := json.loads(await plane.stdout.readline()))["message"] != "control-plane.started":
            pass
    async with aiohttp.ClientSession() as session:
        url = f"{record['data']['file_server']}/v1/static/lifecycle/lifecycle.tgz"
        async with session.get(url) as response:
            assert await response.text() == "lifecycle"
    assert json.loads((state / "endpoints.json").read_text()) == record["data"]
    plane.terminate()
    async with asyncio.timeout(PATIENCE_S):
        assert await plane.wait() == 0
    assert not (state / "endpoints.json").exists()


async def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    plane = await start_cell("control-plane", f"--state-dir={tmp_path / 'state'}", f"--bundle={tmp_path}")
    async with asyncio.timeout(PATIENCE_S):
        _, complaint = await plane.communicate()
    assert plane.returncode == 1
    assert f"{tmp_path} is not a lifecycle bundle: lifecycle.tgz is missing" in complaint.decode()
