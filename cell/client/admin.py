"""Admin listeners of the reps of this machine: where they are, and requests to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from bbs.client.oneshot import exchange
from bbs.client.transport import Answer, Policy, UnansweredError
from bbs.models.codec import InvalidDocument, parse
from bbs.serving.address import Address
from cell.cli import FILE, state_dir_option
from cell.client.session import BAD_ARGUMENTS, EXIT_STATUSES, ComponentFailed
from cell.client.target import BadArguments, TLSFiles
from cell.development.endpoints import DEFAULT_STATE_DIR, NoEndpoints, read_endpoints
from rep.config import ConfigError, load

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_S: Final = 10.0
EVERY_ADDRESS: Final = ("", "0.0.0.0", "::")
LOOPBACK: Final = "127.0.0.1"
ERRORS: Final = {**EXIT_STATUSES, ConfigError: BAD_ARGUMENTS}
"""Exit statuses of the commands that ask a rep of this machine."""


@dataclass(frozen=True, slots=True)
class Rep:
    """A rep of this machine. admin: the URL of its admin listener."""

    cell_id: str
    admin: str
    tls: TLSFiles | None

    async def exchange(self, method: str, path: str, timeout_s: float = TIMEOUT_S) -> Answer:
        """The answer to a request. Raises UnansweredError, BadArguments."""
        policy = Policy(attempts=1, request_timeout_s=timeout_s)
        url = f"{self.admin}{path}"
        context = self.tls.context() if self.tls and url.startswith("https:") else None
        return await exchange(method, url, {}, b"", ssl_context=context, policy=policy)

    async def document(self, path: str, key: str) -> dict[str, Any]:
        """The JSON object under a path, with a list under ``key``. Raises ComponentFailed, BadArguments."""
        try:
            answer = await self.exchange("GET", path)
            found = parse(answer.body) if answer.status == 200 else None
        except (UnansweredError, InvalidDocument) as error:
            raise ComponentFailed(f"cell {self.cell_id}: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get(key), list):
            raise ComponentFailed(
                f"cell {self.cell_id}: {self.admin}{path} answered {answer.status} without {key}"
            )
        return found


def refused(error: UnansweredError) -> bool:
    """Whether no process listens, unlike one that is late."""
    return isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, TimeoutError)


def rep_options(function: F) -> F:
    """The options that name reps: ``config`` and ``state_dir``, the arguments of :func:`reps`."""
    function = state_dir_option(DEFAULT_STATE_DIR)(function)
    return click.option("--config", type=FILE, metavar="FILE", help="the rep.json of the cell")(function)


def reps(config: Path | None, state_dir: Path) -> list[Rep]:
    """The rep of a rep.json, or those of a `cell dev`. Raises ConfigError, BadArguments."""
    return [_configured(config)] if config is not None else _development(state_dir)


def _configured(path: Path) -> Rep:
    config = load(path)
    try:
        address = Address.parse(config.listen_addr)
    except ValueError as error:
        raise BadArguments(f"{path}: listen_addr: {error}") from error
    host = LOOPBACK if address.host in EVERY_ADDRESS else address.host
    local = Address(host, address.port)
    if not config.cert_file:
        return Rep(config.cell_id, local.url(), None)
    files = TLSFiles(Path(config.ca_cert_file), Path(config.cert_file), Path(config.key_file))
    return Rep(config.cell_id, local.url(tls=True), files)


def _development(state_dir: Path) -> list[Rep]:
    try:
        endpoints = read_endpoints(state_dir)
    except NoEndpoints as error:
        raise BadArguments(
            f"no cell: name its rep.json with --config, or start `cell dev` ({error})"
        ) from error
    tls = TLSFiles(*endpoints.tls) if endpoints.tls else None
    return [Rep(cell.cell_id, cell.admin, tls) for cell in endpoints.cells]
