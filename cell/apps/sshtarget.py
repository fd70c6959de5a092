"""SSH target of an instance: the sshd's address and keys, from the app's SSH route and its instances."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.models.actual_lrp import ActualLRP
from bbs.models.codec import parse
from bbs.models.desired_lrp import DesiredLRP
from cell.apps.keys import public_line_of
from cell.apps.names import processes
from cell.apps.recipes.lrp import SSH_ROUTE
from cell.apps.running import RUNNING, address
from cell.client.session import CommandFailed

HOST_KEY_FLAG = "-hostKey="


@dataclass(frozen=True, slots=True)
class SSHTarget:
    """One instance's sshd. private_key: of the user, PEM. host_key: a line without host names."""

    host: str
    port: int
    private_key: str
    host_key: str


def ssh_target(name: str, app: DesiredLRP, number: int, rows: list[ActualLRP]) -> SSHTarget:
    """The sshd of instance ``number`` of an app. Raises CommandFailed."""
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
        raise CommandFailed(f"the sshd of instance {number} of {name} has no mapped port")
    host, _, port = where.rpartition(":")
    return SSHTarget(host, int(port), key, host_key)
