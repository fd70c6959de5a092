"""Collect what is needed to find out what is wrong with a cell, in one archive without secrets.

The archive has versions, the effective configuration, the state of the service and the end of its log,
waiting outcomes, orphans, containers, packet table, links and routes. It has no lines of apps, no variables
of containers and no contents of key files. Passwords, tokens and keys in the rest are replaced. It is
readable for its owner only; look at it before you hand it on.

  cell support-bundle
  cell support-bundle --config /var/vcap/jobs/rep/config/rep.json --output /tmp/cell.tar.gz

Exit status 0, also if a part cannot be had: the archive says why.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from cell.cli import FILE, Command, command, require_root
from cell.client import admin
from cell.commands.version import versions
from cell.errors import CommandError
from rep.config import ConfigError, load

CONFIG: Final = Path("/etc/diego-cell/rep.json")
LOG_LINES: Final = 20_000
FILE_MODE: Final = 0o600


@command(Command)
@click.option(
    "--config",
    type=FILE,
    default=CONFIG,
    metavar="FILE",
    help=f"the rep.json of the cell (default: {CONFIG})",
)
@click.option("--unit", default="diego-cell.service", metavar="UNIT", help="the service of the cell")
@click.option("--lines", default=LOG_LINES, metavar="N", help=f"most lines of the log (default: {LOG_LINES})")
@click.option("--output", type=FILE, metavar="FILE", help="the archive (default: in the current folder)")
def support_bundle(config: Path, unit: str, lines: int, output: Path | None) -> None:
    require_root("it reads logs and packet rules")
    # Local imports: options are read and completed without the container engine's client.
    from cell.support.collecting import Subject, collect
    from cell.support.scrubbing import Scrubber

    try:
        settings = load(config)
        (rep,) = admin.reps(config, Path())
        scrubber = Scrubber(settings.redact_patterns)
    except (ConfigError, re.error) as error:
        raise CommandError(str(error)) from error
    subject = Subject(config, settings, rep, unit, lines)
    parts = asyncio.run(collect(subject, scrubber, versions()))
    name = f"diego-cell-support-{settings.cell_id or 'cell'}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = output or Path(f"{name}.tar.gz")
    try:
        write(path, name, parts)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    print(path)


def write(path: Path, folder: str, parts: Mapping[str, str]) -> None:
    """Write the parts as files of a folder into a private archive. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        os.fchmod(file.fileno(), FILE_MODE)
        for name, text in parts.items():
            data = text.encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode, member.mtime = len(data), FILE_MODE, int(time.time())
            archive.addfile(member, io.BytesIO(data))
