"""Run a cell under a control plane, as configured by a rep.json.

The component's log goes to standard output as JSON lines. SIGTERM and SIGINT start an orderly shutdown.
Exit status: 0 after a shutdown or an evacuation, 1 when a part failed, 2 for a configuration no cell can
start with.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

from cell import lagerlog
from cell.compose import composed_agent
from cell.failures import Told, telling
from executor.logs.sinks import JsonLinesSink
from rep.agent import RepAgent
from rep.config import ConfigError, InvalidConfig, RepConfig, load, validate

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-config", "--config", type=Path, required=True, metavar="FILE", help="the rep.json")
    parser.add_argument("-zone", "--zone", default="", help="overrides `zone` of the file")
    parser.add_argument(
        "--app-logs", type=Path, metavar="FILE", help="append app logs here as JSON lines (default: stderr)"
    )


def run(args: argparse.Namespace) -> int:
    try:
        config = load(args.config)
        if args.zone:
            config = replace(config, zone=args.zone)
        validate(config)
    except ConfigError as error:
        print(f"rep: {error}", file=sys.stderr)
        return 2
    except InvalidConfig as error:
        print(f"rep: {error}", file=sys.stderr)
        return error.exit_status
    lagerlog.install(
        sys.stdout,
        source=config.session_name,
        level=config.log_level,
        time_format=config.time_format,
        max_data_string=config.max_data_string_length,
    )
    for warning in config.warnings:
        logger.warning("configuration-warning", extra={"data": {"warning": warning}})
    file = args.app_logs.open("ab") if args.app_logs else sys.stderr.buffer
    try:
        with telling(_log_failure):
            asyncio.run(_run(config, file))
    except Told:
        return 1
    finally:
        if args.app_logs:
            file.close()
    return 0


def _log_failure(text: str) -> None:
    logger.error("exited-with-failure", extra={"data": {"error": text}})


async def _run(config: RepConfig, app_logs: IO[bytes]) -> None:
    sink = JsonLinesSink(app_logs)
    async with asyncio.TaskGroup() as group:
        writer = group.create_task(sink.run())
        try:
            async with composed_agent(config, sink) as agent:
                await run_until_signalled(agent)
        finally:
            writer.cancel()


async def run_until_signalled(agent: RepAgent) -> None:
    """Run the agent; SIGTERM and SIGINT ask it to stop, in order."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, agent.stop)
    try:
        await agent.run()
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(signum)
