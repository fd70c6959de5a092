"""A cell under a control plane, in one process: what `cell rep` runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

from cell.assembly import lagerlog
from cell.assembly.cell import ComposedCell, Supervised, composed_cell
from cell.assembly.failures import Reported, reported_errors
from cell.assembly.keptlisteners import KeptListeners
from cell.assembly.logfile import LogFile
from cell.assembly.logwriter import LogWriter
from cell.assembly.process import ExitDeadline, raise_descriptor_limit, relax_garbage_collector
from cell.assembly.reload import CONCURRENCY, SINKS, Reloader
from cell.assembly.supervision import Supervision
from cell.assembly.telemetry import Telemetry, open_telemetry
from common.liveness import Liveness
from common.notify import Notifier, stored_descriptors
from common.tasks import running
from executor.journal.api import FailureReason, JournalError
from rep.agent import RepAgent
from rep.config import RepConfig
from rep.ending import Ending
from rep.evacuation import shutdown_limit_s
from rep.redaction import Redaction

FAILED: Final = 1
NEVER: Final = 2
"""Exit statuses: of a part that failed, and of a cell that cannot start before an operator acts."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_SLACK_S = 10.0
"""Time for everything after the deletion of the containers: listeners, presence, network, clients."""
HAND_OVER_LIMIT_S = 20.0
"""Time of a hand-over: requests in progress, the journal, the rest of the log lines."""

logger = logging.getLogger(__name__)


def serve(config: RepConfig, load: Callable[[], RepConfig]) -> int:
    """Run until a signal or an evacuation ends the cell, and return the exit status.

    load: reads and checks the configuration again, at SIGHUP.
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # a reload before the cell is up must not end it
    notifier = Notifier.from_environment()
    try:
        log = lagerlog.install(
            LogFile(Path(config.log_file)) if config.log_file else sys.stdout, **_log_settings(config)
        )
    except OSError as error:
        print(f"rep: log_file: {error}", file=sys.stderr)
        return NEVER
    raise_descriptor_limit()
    for warning in config.warnings:
        logger.warning("configuration-warning", extra={"data": {"warning": warning}})
    try:
        with reported_errors(_log_failure):
            relax_garbage_collector()
            with ExitDeadline() as deadline:
                asyncio.run(_run(config, load, log, deadline, notifier))
    except Reported as reported:
        return NEVER if any(map(_is_final, reported.errors)) else FAILED
    return 0


def _is_final(error: Exception) -> bool:
    """Whether another start fails in the same way: a newer version wrote the journal."""
    return isinstance(error, JournalError) and error.failure is FailureReason.NEWER


def _log_failure(text: str) -> None:
    logger.error("exited-with-failure", extra={"data": {"error": text}})


def _log_settings(config: RepConfig) -> lagerlog.Settings:
    return lagerlog.Settings(
        source=config.session_name,
        level=config.log_level,
        time_format=config.time_format,
        max_data_string=config.max_data_string_length,
        redact=Redaction(config.redact_patterns) if config.redact_secrets else None,
        log_format=config.log_format,
    )


async def _run(
    config: RepConfig,
    load: Callable[[], RepConfig],
    log: LogWriter,
    deadline: ExitDeadline,
    notifier: Notifier,
) -> None:
    liveness = Liveness()
    supervised = Supervised(liveness=liveness, listener_store=KeptListeners(notifier, stored_descriptors()))
    supervision = Supervision(notifier, config, liveness)
    supervision.begin()

    def on_end(how: Ending) -> None:
        deadline.arm(limit_s := end_limit_s(config, how))
        supervision.ending(how, limit_s)

    reloads = asyncio.Event()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloads.set)
    async with open_telemetry(config) as telemetry, composed_cell(config, telemetry, supervised) as cell:
        reloader = Reloader(
            config,
            load,
            partial(_apply, cell, telemetry, log),
            partial(_check_certificates, cell),
            asked=reloads,
            announced=supervision.reloading,
        )
        async with (
            running(reloader.run(), "reloader"),
            running(supervision.run(cell.agent, cell.executor), "supervision"),
        ):
            await run_until_signalled(cell.agent, on_end)


async def _apply(
    cell: ComposedCell,
    telemetry: Telemetry,
    log: LogWriter,
    config: RepConfig,
    keys: Collection[str],
) -> None:
    """Use the values of some changed keys from now on; the log also takes its level back.

    Raises TelemetryError, and then changes nothing.
    """
    if SINKS.intersection(keys):  # first: only this can fail
        await telemetry.change_sinks(config)
    lagerlog.configure(log, **_log_settings(config))
    if CONCURRENCY.intersection(keys):
        cell.executor.resize(
            creations=config.create_work_pool_size,
            deletions=config.delete_work_pool_size,
            reads=config.read_work_pool_size,
            downloads=config.max_concurrent_downloads,
            probes=config.healthcheck_work_pool_size,
        )


def _check_certificates(cell: ComposedCell) -> None:
    for identity in cell.identities:
        identity.check_soon()


def end_limit_s(config: RepConfig, how: Ending) -> float:
    """The longest time of an end."""
    return HAND_OVER_LIMIT_S if how is Ending.HAND_OVER else shutdown_limit_s(config) + END_SLACK_S


async def run_until_signalled(agent: RepAgent, on_end: Callable[[Ending], object]) -> None:
    """Run the agent; SIGTERM and SIGINT end it as its configuration says.

    on_end: called when the end begins, by a signal, after an evacuation, or by the failure of a part.
    """
    loop = asyncio.get_running_loop()
    agent.on_end = on_end
    for signum in STOP_SIGNALS:
        loop.add_signal_handler(signum, agent.stop)
    try:
        await agent.run()
    finally:
        on_end(agent.ending)
        for signum in STOP_SIGNALS:
            loop.remove_signal_handler(signum)
