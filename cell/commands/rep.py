"""Run a cell under a control plane, configured by a rep.json.

The component log goes to standard output: as JSON lines, or as text on a terminal. SIGTERM and SIGINT end the
cell as `on_stop` in the rep.json says. SIGHUP reads the file again; the log says which changes are in use and
which need a restart.
Exit status: 0 after a shutdown or an evacuation, 1 if a part failed, 2 if no cell can
start with the configuration, or if a newer version wrote the journal in `state_dir`.

  cell rep -config /var/vcap/jobs/rep/config/rep.json
  cell rep --check-config rep.json     list all its problems; 0 if there are none, else 2
  cell rep --print-config rep.json     print the effective configuration
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from cell.assembly import configcheck
from cell.cli import FILE, Command, Option, command
from rep.config import ConfigError, InvalidConfig, RepConfig, load, validate
from rep.config.parse import CHOICES


@command(Command)
@click.option("-config", "--config", type=FILE, metavar="FILE", help="the rep.json")
@click.option("-zone", "--zone", default="", metavar="ZONE", help="zone, instead of that of the file")
@click.option(
    "--app-logs",
    type=FILE,
    metavar="FILE",
    help="append app logs here as JSON lines, in addition to the `log_sinks` of the file",
)
@click.option(
    "--log-format",
    type=click.Choice(CHOICES["log_format"]),
    help="form of the component log, instead of `log_format` of the file: for people or for programs",
)
@click.option("--check-config", type=FILE, metavar="FILE", help="print all problems of a rep.json, and end")
@click.option(
    "--print-config",
    type=FILE,
    cls=Option,
    excludes=["check_config"],
    metavar="FILE",
    help="print each effective value and its source (file, default or flag), and end",
)
@click.option("--json", "as_json", is_flag=True, help="print the configuration as JSON")
def rep(
    config: Path | None,
    zone: str,
    app_logs: Path | None,
    log_format: str | None,
    check_config: Path | None,
    print_config: Path | None,
    as_json: bool,
) -> int:
    try:
        if check_config is not None:
            return _check(check_config, zone)
        if print_config is not None:
            return _print(print_config, zone, as_json)
        if config is None:
            print("rep: -config FILE is missing", file=sys.stderr)
            return 2
        logs = app_logs.absolute() if app_logs else None
        read = partial(_settings, config, zone, logs, log_format)
        settings = read()
    except ConfigError as error:
        print(f"rep: {error}", file=sys.stderr)
        return 2
    except InvalidConfig as error:
        print(f"rep: {error}", file=sys.stderr)
        return error.exit_status
    # A local import: a configuration is checked without the container engine's client.
    from cell.assembly.service import serve

    return serve(settings, read)


def _settings(config: Path, zone: str, app_logs: Path | None, log_format: str | None) -> RepConfig:
    """The settings with which a cell can start. Raises ConfigError, InvalidConfig."""
    settings = load(config, zone=zone)
    if app_logs is not None:
        settings = replace(settings, log_sinks=(*settings.log_sinks, f"file:{app_logs}"))
    if log_format is not None:
        settings = replace(settings, log_format=log_format)
    validate(settings)
    return settings


def _check(path: Path, zone: str) -> int:
    report = configcheck.check(path, zone=zone)
    print(configcheck.explain(path, report))
    return 2 if report.problems else 0


def _print(path: Path, zone: str, as_json: bool) -> int:
    report = configcheck.check(path, zone=zone)
    if report.problems or report.warnings:
        print(configcheck.explain(path, report), file=sys.stderr)
    values = configcheck.values_as_json if as_json else configcheck.values_as_text
    print(values(report.config))
    return 2 if report.problems else 0
