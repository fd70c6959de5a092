"""``cell ssh-proxy`` as deployed: a process with its configuration file, a BBS and a log agent behind TLS."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import Identity
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.actions import RunAction
from bbs.models.actual_lrp import RunningData
from bbs.serving.address import Address
from cell.development.certs import development_identities
from cell.development.freeport import free_port
from tests.support.waiting import PATIENCE_S

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)

PASSWORD = "s3cret"
A_DAY_S = 24 * 3600.0


@pytest.fixture(scope="module")
def many_descriptors() -> Iterator[None]:
    """For us and what we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Whole:
    """A running program. ``port``, ``health`` and ``metrics`` are its addresses."""

    process: asyncio.subprocess.Process
    port: int
    health: str
    metrics: str
    client: HTTPBBSClient


@asynccontextmanager
async def program(config: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs until the context ends; listens when it begins."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cell", "ssh-proxy", "-config", str(config)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    assert running.returncode is None, "it ended instead of listening"
                else:
                    writer.close()
                    await writer.wait_closed()
                    break
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        assert running.stdout is not None
        await running.stdout.read()
        await running.wait()


@pytest.fixture
async def whole(
    many_descriptors: None,
    tmp_path: Path,
    keys: Any,
    daemon: Any,
    instance: Any,
    process: Any,
    loggregator_agent: Any,
    loggregator_identities: Any,
) -> AsyncIterator[Whole]:
    identities = development_identities(tmp_path / "tls")
    agent, agent_client = loggregator_identities
    async with AsyncExitStack() as stack:
        plane = ControlPlane(
            PlaneConfig(
                state_dir=tmp_path / "plane",
                addresses=EVERYWHERE,
                tls=identities["control-plane"],
                convergence_interval_s=A_DAY_S,  # it would take the instance away, whose cell is not there
            )
        )
        await stack.enter_async_context(plane)
        agent_port = await stack.enter_async_context(loggregator_agent.listening(identity=agent))
        identity = Identity(identities["client"])
        client = await stack.enter_async_context(
            HTTPBBSClient(plane.bbs_url, ssl_context=identity.client_context())
        )
        desired = process()
        await client.desire_lrp(
            replace(
                desired,
                domain="cf-apps",
                instances=1,
                root_fs="preloaded:any",
                action=RunAction(path="true", user="vcap"),
                ports=(2222,),
            )
        )
        lrp = instance(daemon.port)
        await client.start_actual_lrp(
            replace(lrp.actual_lrp_key, domain="cf-apps"),
            replace(lrp.actual_lrp_instance_key, cell_id="cell"),
            RunningData(net_info=lrp.actual_lrp_net_info),
        )
        port, health_port, metrics_port = free_port(), free_port(), free_port()
        document = {
            "address": f"127.0.0.1:{port}",
            "health_check_address": f"127.0.0.1:{health_port}",
            "metrics_address": f"127.0.0.1:{metrics_port}",
            "host_key": keys.host["rsa"],
            "bbs_address": plane.bbs_url,
            "bbs_ca_cert": str(identities["client"].ca_file),
            "bbs_client_cert": str(identities["client"].cert_file),
            "bbs_client_key": str(identities["client"].key_file),
            "enable_diego_auth": True,
            "diego_credentials": PASSWORD,
            "idle_connection_timeout": "5m",
            "log_level": "info",
            "loggregator": {
                "loggregator_use_v2_api": True,
                "loggregator_api_port": agent_port,
                "loggregator_ca_path": str(agent_client.ca_file),
                "loggregator_cert_path": str(agent_client.cert_file),
                "loggregator_key_path": str(agent_client.key_file),
                "loggregator_instance_id": "proxy-0",
            },
        }
        (tmp_path / "ssh_proxy.json").write_text(json.dumps(document))
        running = await stack.enter_async_context(program(tmp_path / "ssh_proxy.json", port))
        health, metrics = f"http://127.0.0.1:{health_port}", f"http://127.0.0.1:{metrics_port}/metrics"
        yield Whole(running, port, health, metrics, client)
