"""Run the public SSH entry point, for `cf:APP_GUID/INDEX` and `diego:PROCESS_GUID/INDEX` with a password.

docs/ssh.md describes the keys of the configuration file. The component log goes to standard output as JSON
lines. Sessions are logged in the app's stream if the file has a `loggregator` identity. Exit status: 0 after
SIGTERM or SIGINT, 1 if it cannot serve, 2 for a configuration with which it cannot start.

  cell ssh-proxy -config /var/vcap/jobs/ssh_proxy/config/ssh_proxy.json
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from cell.assembly.process import raise_descriptor_limit
from cell.cli import FILE, Command, command
from executor.logs.api import LogLine, Stream
from executor.logs.loggregator import Agent, Loggregator, credentials
from executor.telemetry.api import Gauge, GaugeMetric, Labels
from sshd.proxy.applog import SOURCE_TYPE, AppLog, NoAppLog
from sshd.proxy.config import ProxyConfig
from sshd.proxy.program import COMPONENT
from sshd.proxy.program import run as run_proxy
from sshd.proxy.target import Target

DEFAULT_PORT = 3458


@command(Command)
@click.option("-config", "--config", type=FILE, required=True, metavar="FILE", help="the ssh_proxy.json")
@click.option("-debugAddr", "--debugAddr", metavar="ADDRESS", expose_value=False, help="ignored")
def ssh_proxy(config: Path) -> int:
    raise_descriptor_limit()
    return run_proxy(config, _open_app_log)


class LoggregatorAppLog:
    """Sends log lines and the gauge of the proxy to loggregator."""

    def __init__(self, shipper: Loggregator, labels: Labels) -> None:
        self._shipper = shipper
        self._labels = labels

    def write_line(self, target: Target, text: str) -> None:
        self._shipper.emit(
            LogLine(
                payload=text.encode(),
                stream=Stream.OUT,
                source_id=target.source_id,
                instance_id=target.instance_id,
                source_type=SOURCE_TYPE,
                time_ns=time.time_ns(),
                tags={**self._labels.tags, "source_type": SOURCE_TYPE, **target.tags},
            )
        )

    def connections(self, count: int) -> None:
        values = {"ssh-connections": Gauge(count, "Metric")}
        self._shipper.emit_metric(GaugeMetric(labels=self._labels, time_ns=time.time_ns(), values=values))


@asynccontextmanager
async def _open_app_log(config: ProxyConfig) -> AsyncIterator[AppLog]:
    """Raises ``OSError`` if a file of the identity cannot be read."""
    keys = config.loggregator
    files = [str(keys.get(f"loggregator_{name}_path") or "") for name in ("ca", "cert", "key")]
    if not all(files):
        yield NoAppLog()
        return
    agent = Agent(
        address=f"{keys.get('loggregator_api_host') or '127.0.0.1'}:"
        f"{keys.get('loggregator_api_port') or DEFAULT_PORT}",
        credentials=credentials(*map(Path, files)),
    )
    labels = Labels(
        source_id=str(keys.get("loggregator_source_id") or COMPONENT),
        instance_id=str(keys.get("loggregator_instance_id") or ""),
        tags={"origin": str(keys.get("loggregator_job_origin") or COMPONENT)},
    )
    shipper = Loggregator(agent)
    async with shipper.running():
        yield LoggregatorAppLog(shipper, labels)
