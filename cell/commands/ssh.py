"""A shell in an instance of an app, or a command with -c; the exit status is that of the command.

Goes straight to the instance's own sshd, with the key the app was pushed with; its host key is checked. Uses
the machine's `ssh`, and without one a client of its own.

  cell ssh shop
  cell ssh shop -i 1 -c 'ps; env'
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bbs.models.actual_lrp import ActualLRP
from bbs.models.codec import parse
from bbs.models.desired_lrp import DesiredLRP
from cell.apps.keys import public_line_of
from cell.apps.names import find_app, processes
from cell.apps.recipes.lrp import SSH_ROUTE
from cell.apps.running import RUNNING, address
from cell.client import session
from cell.client.session import CommandFailed, Session
from cell.client.values import index

HOST_KEY_FLAG = "-hostKey="
USER = "vcap"
"""Whatever it is, the daemon lets in who has the key."""


@dataclass(frozen=True, slots=True)
class Door:
    """One instance's sshd. private_key: of the user, PEM. host_key: a line without host names."""

    host: str
    port: int
    private_key: str
    host_key: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="its name, or the GUID of an LRP")
    parser.add_argument("-i", "--index", type=index, default=0, help="which instance (default: 0)")
    parser.add_argument("-c", "--command", help="instead of a shell")
    session.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    doors: list[Door] = []
    status = session.run(args, partial(_find, args, doors))
    return status or enter(doors[0], args.command)


async def _find(args: argparse.Namespace, doors: list[Door], at: Session) -> None:
    app = await find_app(at.bbs, args.app)
    rows = await at.bbs.actual_lrps(process_guid=app.process_guid, index=args.index)
    doors.append(door(args.app, app, args.index, rows))


def door(name: str, app: DesiredLRP, number: int, rows: list[ActualLRP]) -> Door:
    """The way into instance ``number``. Raises CommandFailed."""
    raw = (app.routes or {}).get(SSH_ROUTE)
    host_keys = [
        argument.removeprefix(HOST_KEY_FLAG)
        for process in processes(app)
        for argument in process.args
        if argument.startswith(HOST_KEY_FLAG)
    ]
    if raw is None or not host_keys:
        raise CommandFailed(f"{name} runs without sshd")
    running = [row for row in rows if row.state == RUNNING]
    if not running:
        states = ", ".join(row.state for row in rows) or "it is not desired"
        raise CommandFailed(f"instance {number} of {name} is not running: {states}")
    route = parse(raw)
    try:
        where = address(running[0], route["container_port"])
        key, host_key = route["private_key"], public_line_of(host_keys[0])
    except (KeyError, TypeError, ValueError) as error:
        raise CommandFailed(f"the SSH route of {name} cannot be used: {error!r}") from error
    if where is None:
        raise CommandFailed(f"no port leads to the sshd of instance {number} of {name}")
    host, _, port = where.rpartition(":")
    return Door(host, int(port), key, host_key)


def enter(way: Door, command: str | None) -> int:
    """The exit status of the command, or of the shell."""
    program = shutil.which("ssh")
    if program is None:
        # It takes a while to import, and is seldom needed.
        from cell.apps.sshclient import enter_without_ssh

        return enter_without_ssh(way, command)
    with tempfile.TemporaryDirectory() as folder:
        key, known_hosts = Path(folder, "key"), Path(folder, "known_hosts")
        key.touch(0o600)
        key.write_text(way.private_key)
        known_hosts.write_text(f"[{way.host}]:{way.port} {way.host_key}\n")
        arguments = [program, *_options(key, known_hosts), "-p", str(way.port), f"{USER}@{way.host}"]
        if command is not None:
            arguments.append(command)
        process = subprocess.Popen(arguments)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # ssh got it, too


def _options(key: Path, known_hosts: Path) -> list[str]:
    settings = {
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "LogLevel": "ERROR",
    }
    options = ["-F", "/dev/null", "-i", str(key)]
    for name, value in settings.items():
        options += ["-o", f"{name}={value}"]
    return options
