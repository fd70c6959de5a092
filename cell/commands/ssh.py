"""Open a shell in an instance of an app, or run a command with -c and return its exit status.

Connects directly to the instance's sshd, with the key of the push; the host key is checked. Uses the
machine's `ssh` if there is one, else a built-in client.

  cell ssh shop
  cell ssh shop -i 1 -c 'ps; env'
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from cell.apps import suggestions
from cell.apps.lookup import find_app
from cell.apps.ssh import SSHTarget, ssh_target
from cell.cli import command, take
from cell.client.session import BBSCommand, Common, Session, execute
from cell.client.values import index

USER = "vcap"
"""Any name works: the daemon checks only the key."""


@command(BBSCommand)
@suggestions.APP
@click.option("-i", "--index", type=index, default="0", help="instance (default: 0)")
@click.option("-c", "--command", "words", metavar="COMMAND", help="run this command instead of a shell")
def ssh(app: str, index: int, words: str | None, **common: Any) -> int:
    targets: list[SSHTarget] = []

    async def find(session: Session) -> None:
        lrp = await find_app(session.bbs, app)
        rows = await session.bbs.actual_lrps(process_guid=lrp.process_guid, index=index)
        targets.append(ssh_target(app, lrp, index, rows))

    execute(take(Common, common), find)
    return enter(targets[0], words)


def enter(target: SSHTarget, command: str | None) -> int:
    """The exit status of the command or shell."""
    program = shutil.which("ssh")
    if program is None:
        # A local import: it is slow, and seldom needed.
        from cell.apps.sshclient import enter_without_ssh

        return enter_without_ssh(target, command)
    with tempfile.TemporaryDirectory() as folder:
        key, known_hosts = Path(folder, "key"), Path(folder, "known_hosts")
        key.touch(0o600)
        key.write_text(target.private_key)
        known_hosts.write_text(f"[{target.host}]:{target.port} {target.host_key}\n")
        arguments = [program, *_options(key, known_hosts), "-p", str(target.port), f"{USER}@{target.host}"]
        if command is not None:
            arguments.append(command)
        process = subprocess.Popen(arguments)
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # ssh gets the signal, too


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
