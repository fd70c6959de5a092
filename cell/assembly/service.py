"""A cell under a control plane, in one process: what `cell rep` runs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

from cell.assembly import lagerlog
from cell.assembly.cell import composed_agent
from cell.assembly.failures import Reported, reported_errors
from cell.assembly.process import ExitDeadline, raise_descriptor_limit, relax_garbage_collector
from cell.assembly.telemetry import open_telemetry
from rep.agent import RepAgent
from rep.config import RepConfig
from rep.ending import Ending
from rep.evacuation import shutdown_limit_s
from rep.redaction import Redaction

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_SLACK_S = 10.0
"""Time for everything after the deletion of the containers: listeners, presence, network, clients."""
HAND_OVER_LIMIT_S = 20.0
"""Time of a hand-over: requests in progress, the journal, the rest of the log lines."""

logger = logging.getLogger(__name__)


def serve(config: RepConfig) -> int:
    """Run until a signal or an evacuation ends the cell, and return the exit status."""
    lagerlog.install(
        sys.stdout,
        source=config.session_name,
        level=config.log_level,
        time_format=config.time_format,
        max_data_string=config.max_data_string_length,
        redact=Redaction(config.redact_patterns) if config.redact_secrets else None,
    )
    raise_descriptor_limit()
    for warning in config.warnings:
        logger.warning("configuration-warning", extra={"data": {"warning": warning}})
    try:
        with reported_errors(_log_failure):
            relax_garbage_collector()
            with ExitDeadline() as deadline:
                asyncio.run(_run(config, deadline))
    except Reported:
        return 1
    return 0


def _log_failure(text: str) -> None:
    logger.error("exited-with-failure", extra={"data": {"error": text}})


async def _run(config: RepConfig, deadline: ExitDeadline) -> None:
    async with open_telemetry(config) as telemetry, composed_agent(config, telemetry) as agent:
        await run_until_signalled(agent, lambda how: deadline.arm(end_limit_s(config, how)))


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
