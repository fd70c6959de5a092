"""Run one action tree, Task or DesiredLRP in a new container, and clean up after it.

The kind of the document is detected; it has the present JSON form or that of 2015. `-` reads standard input.
On a terminal the tree is drawn live with the log lines below it; elsewhere the log lines are printed with
their source, and a failure's reason goes to standard error.

  cell run tree.json --image busybox                run an action; busybox is always available
  cell run task.json --image alpine:3.20            a Task in another image (pulled if missing)
  cell run web.json --port 8080:8080                a DesiredLRP with setup, monitor and ports, until Ctrl-C
  echo '{"run": {"path": "id"}}' | cell run - --image busybox --user root
  cell run tree.json --image busybox --dry-run      check it, and print every step with its settings
  cell run tree.json --image busybox --only action/serial[1]/run
  cell run tree.json --image busybox --trace run.trace && cell explain run.trace

DOCKER_HOST names another engine than the default, also of this machine.

Exit status:

    0  success
    1  failure
    2  bad input: the document (with the JSON path of the field), an option, or the image
    3  the engine or this machine failed
  130  interrupted, after a graceful stop (a second Ctrl-C kills at once)
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from cell.cli import DOCUMENT, FILE, Command, Option, command, state_dir_option, take
from cell.errors import BAD_INPUT, BadInput
from cell.runner.options import (
    DEFAULT_DOCKER_HOST,
    DEFAULT_STATE_DIR,
    Options,
    given_root_fs,
    image_root_fs,
    parse_env,
    parse_port,
)

_container = partial(click.option, cls=Option, section="The container")
_override = partial(click.option, cls=Option, section="Overrides of the document")
_after = partial(click.option, cls=Option, section="After the run")
_output = partial(click.option, cls=Option, section="Output")


def _amount(text: str) -> int:
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r}: expected MiB, 0 for no limit")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"{text!r}: expected seconds, more than 0")
    return seconds


@command(Command, errors={BadInput: BAD_INPUT})
@click.argument("document", metavar="TREE.json", type=DOCUMENT, help="the document; - for standard input")
@_container("--image", metavar="IMAGE", help="image reference, or busybox, instead of the document's")
@_container("--rootfs", excludes=["image"], metavar="ROOTFS", help="a URI, a tar archive or a directory")
@_override("--env", multiple=True, metavar="K=V", help="variable of the container; K alone takes yours")
@_override("--memory-mb", type=_amount, metavar="N", help="memory limit in MiB, 0 for none")
@_override("--disk-mb", type=_amount, metavar="N", help="disk limit in MiB, 0 for none")
@_override("--port", multiple=True, metavar="[HOST:]PORT", help="map a port of the container")
@_override("--user", default="", metavar="USER", help="user of every step")
@_override(
    "--timeout", "timeout_s", type=_seconds, metavar="SECONDS", help="stop the run after this time; it fails"
)
@_override("--only", default="", metavar="PATH", help="run one step and the steps below it")
@_after("--keep", is_flag=True, help="keep the container, and print how to enter it")
@_after("--shell-on-failure", "shell", is_flag=True, help="open a shell in the container after a failure")
@_output("--dry-run", is_flag=True, help="check the document and print its steps")
@_output("--json", "json_lines", is_flag=True, help="print events as JSON lines")
@_output("--trace", type=FILE, metavar="FILE", help="write a trace (Chrome format; see `cell explain`)")
@_output("--junit", type=FILE, metavar="FILE", help="write a JUnit report")
@state_dir_option(DEFAULT_STATE_DIR)
def run(
    document: str,
    image: str | None,
    rootfs: str | None,
    env: Sequence[str],
    port: Sequence[str],
    shell: bool,
    **values: Any,
) -> int:
    # A local import: options are read and completed without the container engine's client.
    from cell.assembly.process import raise_descriptor_limit
    from cell.runner.launch import Outputs, execute

    raise_descriptor_limit()
    outputs = take(Outputs, values)
    root_fs = ""
    if image is not None:
        root_fs = image_root_fs(image)
    elif rootfs is not None:
        root_fs = given_root_fs(rootfs)
    if shell and not (sys.stdin.isatty() and document != "-"):
        raise BadInput("--shell-on-failure needs a terminal as standard input")
    options = Options(
        root_fs=root_fs,
        env=tuple(parse_env(text, dict(os.environ)) for text in env),
        ports=tuple(parse_port(text) for text in port),
        shell=shell,
        docker_host=os.environ.get("DOCKER_HOST") or DEFAULT_DOCKER_HOST,
        **values,
    )
    return execute(document, options, outputs)
