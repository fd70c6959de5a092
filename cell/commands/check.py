"""Check documents without running them: action trees, Tasks, DesiredLRPs, rep.json and ssh_proxy.json.

Everything that a run or a start would refuse is reported, one problem a line, with its place. No container
engine is needed. The kind of a file is recognised by its keys.

  cell check tree.json task.json /etc/diego-cell/rep.json

Exit status: 0 if all can be used, 2 otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from cell.assembly.terminal import one_line
from cell.cli import DOCUMENT, Command, command
from cell.errors import BAD_INPUT, SUCCESS, BadInput

OF_REP: Final = frozenset({"cell_id", "bbs_address", "locket_address", "preloaded_root_fs", "listen_addr"})
OF_PROXY: Final = frozenset({"host_key", "diego_credentials", "backends_tls_enabled", "enable_diego_auth"})


@command(Command, errors={BadInput: BAD_INPUT}, visible=one_line)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=DOCUMENT, help="the documents")
def check(files: Sequence[str]) -> int:
    failed = False
    for file in files:
        try:
            problems = list(_checker(file)(file))
        except BadInput as error:
            problems = str(error).splitlines()
        failed = failed or bool(problems)
        for problem in problems or [f"{file}: good"]:
            click.echo(one_line(problem), err=bool(problems))
    return BAD_INPUT if failed else SUCCESS


def _checker(file: str) -> Callable[[str], Iterator[str]]:
    """The check for the kind of a file. Local imports: a check of one kind loads no other."""
    keys = _keys(file)
    if keys & OF_PROXY:
        return _proxy_problems
    return _rep_problems if keys & OF_REP else _workload_problems


def _keys(file: str) -> set[str]:
    """The keys of the file's object; empty if it is none."""
    try:
        value = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, RecursionError):
        return set()
    return {key.lower() for key in value} if isinstance(value, dict) else set()


def _workload_problems(file: str) -> Iterator[str]:
    from cell.runner.document import read_workload

    read_workload(file, root_fs="preloaded:any")
    yield from ()


def _rep_problems(file: str) -> Iterator[str]:
    from cell.assembly import configcheck
    from rep.config import ConfigError

    try:
        report = configcheck.check(Path(file))
    except ConfigError as error:
        yield str(error)
        return
    yield from (f"{file}: {problem}" for problem in (*report.problems, *report.warnings))


def _proxy_problems(file: str) -> Iterator[str]:
    from sshd.proxy.config import InvalidConfig, load

    try:
        load(Path(file))
    except InvalidConfig as error:
        yield f"{file}: {error}"
