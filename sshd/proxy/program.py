"""``ssh-proxy``: from its configuration file to its exit status."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from bbs.client.http import HTTPBBSClient
from bbs.client.transport import Policy
from common.lager import LEVELS
from common.metrics.instruments import Instruments
from common.notify import Notifier
from sshd.listening import ListenFailed, listen
from sshd.proxy.applog import AppLog, NoAppLog
from sshd.proxy.config import InvalidConfig, ProxyConfig, load
from sshd.proxy.families import FAMILIES
from sshd.proxy.health import health_server
from sshd.proxy.limits import ConnectionLimits
from sshd.proxy.metrics import metrics_server
from sshd.proxy.platform import CloudFoundryRealm, Platform, PlatformURLs, open_session
from sshd.proxy.realms import DiegoRealm, Realm
from sshd.proxy.server import Proxy, ProxySettings
from sshd.proxy.startup import FATAL_STATUS, CannotStart, Ready, check
from sshd.records import ERROR, FATAL, INFO, Records
from sshd.ssh.algorithms import algorithms, proxy_key_exchanges

COMPONENT = "ssh-proxy"
BACKLOG = 4096
FAILED = 1

PLATFORM_SECONDS = 10.0
"""Limit of a platform request, unless the configuration sets one."""

FLUSH_SECONDS = 1.0
"""Interval of attempts to write waiting log records."""

OpenAppLog = Callable[[ProxyConfig], AbstractAsyncContextManager[AppLog]]


@asynccontextmanager
async def no_app_log(_: ProxyConfig) -> AsyncIterator[AppLog]:
    yield NoAppLog()


def run(path: Path, open_app_log: OpenAppLog = no_app_log) -> int:
    """Serve until SIGTERM or SIGINT. Log records go to standard output."""
    try:
        config = load(path)
    except InvalidConfig as error:
        records = Records(COMPONENT, 0, False)
        records.write(FATAL, "failed-to-parse-config", error=str(error))
        records.close()
        return FATAL_STATUS
    records = Records(COMPONENT, LEVELS.index(config.log_level), config.rfc3339)
    try:
        return _run(config, records, open_app_log)
    finally:
        records.close()


def _run(config: ProxyConfig, records: Records, open_app_log: OpenAppLog) -> int:
    for key in config.without_effect:
        why = "connections to the BBS are kept and shared without a limit of their number"
        records.write(INFO, "key-without-effect", key=key, reason=why)
    try:
        ready = check(config, records)
    except CannotStart as failure:
        return failure.status
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors per connection
    notifier = Notifier.from_environment()
    try:
        asyncio.run(_serve(config, ready, records, open_app_log, notifier))
    except CannotStart as failure:
        return failure.status
    except ListenFailed as error:
        text = f"Exit trace for group:\n{COMPONENT} exited with error: {error}\n"
        records.write(ERROR, "exited-with-failure", error=text)
        return FAILED
    records.write(INFO, "exited")
    return 0


async def _serve(
    config: ProxyConfig, ready: Ready, records: Records, open_app_log: OpenAppLog, notifier: Notifier
) -> None:
    """Serve until a signal. Raises :class:`ListenFailed`, :class:`CannotStart`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            app_log = await stack.enter_async_context(open_app_log(config))
        except OSError as error:
            records.write(ERROR, "failed-to-initialize-metron-client", error=str(error))
            raise CannotStart(FAILED) from error
        records.write(INFO, "started")
        listening = stack.enter_context(listen(config.address, BACKLOG))
        if not config.disable_health_check_server and config.health_check_address:
            health = stack.enter_context(listen(config.health_check_address, BACKLOG))
            await stack.enter_async_context(health_server(health))
        instruments = Instruments(FAMILIES)
        if config.metrics_address:
            scraped = stack.enter_context(listen(config.metrics_address, BACKLOG))
            await stack.enter_async_context(metrics_server(scraped, instruments))
        await stack.enter_async_context(ready.bbs_identity.watched())
        policy = Policy(request_timeout_s=config.communication_timeout or Policy().request_timeout_s)
        directory = await stack.enter_async_context(
            HTTPBBSClient(config.bbs_address, ssl_context=ready.bbs_identity.client_context(), policy=policy)
        )
        session = await stack.enter_async_context(
            open_session(config.communication_timeout or PLATFORM_SECONDS)
        )
        proxy = Proxy(
            ProxySettings(
                host_key=config.host_key,
                algorithms=algorithms(
                    config.allowed_ciphers,
                    config.allowed_macs,
                    config.allowed_key_exchanges,
                    known_key_exchanges=proxy_key_exchanges(),
                ),
                idle_seconds=config.idle_connection_timeout,
                connect_to_instance_address=config.connect_to_instance_address,
                backend_tls=ready.backend_tls,
                backend_tls_required=config.backends_tls_required,
                limits=ConnectionLimits(
                    config.max_connections,
                    config.max_connections_per_user,
                    config.max_connections_per_instance,
                ),
                login_seconds=config.login_grace_time,
            ),
            _realms(config, ready, session, records),
            directory,
            app_log,
            records,
            instruments,
        )
        stack.enter_context(instruments.refreshed_by(proxy.report))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(proxy.serve(listening), name="ssh-proxy listener")
            flushing = group.create_task(_flush(records, notifier), name="ssh-proxy log")
            notifier.status(f"serving on {config.address}")
            notifier.ready()
            await stop.wait()
            notifier.stopping()
            records.write(INFO, "server.stopping-server")
            serving.cancel()
            flushing.cancel()


async def _flush(records: Records, notifier: Notifier) -> None:
    """Periodically write the records that a slow log reader has not taken, and feed the watchdog."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        records.flush()
        if notifier.watchdog_s is not None:
            notifier.watchdog()


def _realms(
    config: ProxyConfig, ready: Ready, session: aiohttp.ClientSession, records: Records
) -> list[Realm]:
    realms: list[Realm] = []
    if config.enable_diego_auth:
        realms.append(DiegoRealm(config.diego_credentials))
    if config.enable_cf_auth:
        urls = PlatformURLs(config.uaa_token_url, config.uaa_username, config.uaa_password, config.cc_api_url)
        platform = Platform(urls, session, records, uaa_tls=ready.uaa_tls, cc_tls=ready.cc_tls)
        realms.append(CloudFoundryRealm(platform))
    return realms
