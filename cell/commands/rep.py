"""Run a cell under a control plane, configured by a rep.json.

The component log goes to standard output as JSON lines. SIGTERM and SIGINT start an orderly shutdown.
Exit status: 0 after a shutdown or an evacuation, 1 if a part failed, 2 for a configuration with which no
cell can start.

  cell rep -config /var/vcap/jobs/rep/config/rep.json
  cell rep --check-config rep.json     list all its problems; 0 if there are none, else 2
  cell rep --print-config rep.json     print the effective configuration
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

from cell.assembly import collector, configcheck, lagerlog
from cell.assembly.cell import composed_agent
from cell.assembly.deadline import ExitDeadline
from cell.assembly.descriptors import raise_descriptor_limit
from cell.assembly.failures import Told, telling
from cell.assembly.telemetry import open_telemetry
from rep.agent import RepAgent
from rep.config import ConfigError, InvalidConfig, RepConfig, load, validate
from rep.evacuation import shutdown_limit_s
from rep.redaction import Redaction

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_SLACK_S = 10.0
"""Time for everything after the deletion of the containers: listeners, presence, network, clients."""

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-config", "--config", type=Path, metavar="FILE", help="the rep.json")
    parser.add_argument("-zone", "--zone", default="", help="overrides `zone` of the file")
    parser.add_argument(
        "--app-logs",
        type=Path,
        metavar="FILE",
        help="append app logs here as JSON lines, besides what `log_sinks` says",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check-config", type=Path, metavar="FILE", help="tell all that is wrong with a rep.json, and end"
    )
    instead.add_argument(
        "--print-config",
        type=Path,
        metavar="FILE",
        help="show each effective value and whether file, default or flag gave it, and end",
    )
    parser.add_argument("--json", action="store_true", help="of --print-config: as JSON")


def run(args: argparse.Namespace) -> int:
    if args.check_config or args.print_config:
        return _show(args)
    if args.config is None:
        print("rep: -config FILE is missing", file=sys.stderr)
        return 2
    try:
        config = load(args.config, zone=args.zone)
        if args.app_logs:
            config = replace(config, log_sinks=(*config.log_sinks, f"file:{args.app_logs.absolute()}"))
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
        redact=Redaction(config.redact_patterns) if config.redact_secrets else None,
    )
    raise_descriptor_limit()
    for warning in config.warnings:
        logger.warning("configuration-warning", extra={"data": {"warning": warning}})
    try:
        with telling(_log_failure):
            collector.relax()
            with ExitDeadline(shutdown_limit_s(config) + END_SLACK_S) as deadline:
                asyncio.run(_run(config, deadline))
    except Told:
        return 1
    return 0


def _show(args: argparse.Namespace) -> int:
    """Print the check of a configuration instead of a start."""
    path: Path = args.check_config or args.print_config
    try:
        report = configcheck.check(path, zone=args.zone)
    except ConfigError as error:
        print(f"rep: {error}", file=sys.stderr)
        return 2
    if args.check_config:
        print(configcheck.explain(path, report))
    else:
        if report.problems or report.warnings:
            print(configcheck.explain(path, report), file=sys.stderr)
        values = configcheck.values_as_json if args.json else configcheck.values_as_text
        print(values(report.config))
    return 2 if report.problems else 0


def _log_failure(text: str) -> None:
    logger.error("exited-with-failure", extra={"data": {"error": text}})


async def _run(config: RepConfig, deadline: ExitDeadline) -> None:
    async with open_telemetry(config) as telemetry, composed_agent(config, telemetry) as agent:
        await run_until_signalled(agent, deadline)


async def run_until_signalled(agent: RepAgent, deadline: ExitDeadline) -> None:
    """Run the agent; SIGTERM and SIGINT stop it in order.

    The deadline starts with the stop (by a signal or at the end of an evacuation) or with the failure of a
    part, and limits the rest of the process.
    """
    loop = asyncio.get_running_loop()
    agent.on_stop = deadline.arm
    for signum in STOP_SIGNALS:
        loop.add_signal_handler(signum, agent.stop)
    try:
        await agent.run()
    finally:
        deadline.arm()
        for signum in STOP_SIGNALS:
            loop.remove_signal_handler(signum)
