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

import argparse
import math
import os
import sys
from pathlib import Path

from cell.assembly.descriptors import raise_descriptor_limit
from cell.assembly.terminal import one_line
from cell.runner.errors import BAD_INPUT, INTERRUPTED, BadInput
from cell.runner.launch import Outputs, execute
from cell.runner.options import (
    DEFAULT_DOCKER_HOST,
    DEFAULT_STATE_DIR,
    Options,
    given_root_fs,
    image_root_fs,
    parse_env,
    parse_port,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", metavar="TREE.json", help="the document, `-` for standard input")
    where = parser.add_argument_group("the container").add_mutually_exclusive_group()
    where.add_argument("--image", metavar="IMAGE", help="image reference, or busybox; over the document's")
    where.add_argument("--rootfs", metavar="ROOTFS", help="a URI, a tar archive or a directory")
    box = parser.add_argument_group("over what the document says")
    box.add_argument(
        "--env", action="append", default=[], metavar="K=V", help="variable of the container; K takes yours"
    )
    box.add_argument("--memory-mb", type=_amount, metavar="N", help="memory limit in MiB, 0 for none")
    box.add_argument("--disk-mb", type=_amount, metavar="N", help="disk limit in MiB, 0 for none")
    box.add_argument(
        "--port", action="append", default=[], metavar="[HOST:]PORT", help="map a port of the container"
    )
    box.add_argument("--user", default="", help="the user of every step")
    box.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="stop it, and fail, after this long")
    box.add_argument("--only", default="", metavar="PATH", help="run one step and what is below it")
    after = parser.add_argument_group("afterwards")
    after.add_argument("--keep", action="store_true", help="leave the container, and say how to enter it")
    after.add_argument(
        "--shell-on-failure", action="store_true", help="open a shell in the container when the tree failed"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--dry-run", action="store_true", help="check the document and print its steps")
    out.add_argument("--json", action="store_true", help="print events as JSON lines")
    out.add_argument("--trace", type=Path, metavar="FILE", help="write a trace (Chrome format; cell explain)")
    out.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report")
    parser.add_argument(
        "--state-dir", type=Path, default=DEFAULT_STATE_DIR, help=f"default: {DEFAULT_STATE_DIR}"
    )


def run(args: argparse.Namespace) -> int:
    raise_descriptor_limit()
    try:
        options = _options(args)
        outputs = Outputs(dry_run=args.dry_run, json_lines=args.json, trace=args.trace, junit=args.junit)
        return execute(args.document, options, outputs)
    except KeyboardInterrupt:  # before the start of the run
        return INTERRUPTED
    except BadInput as error:
        print(f"cell run: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT


def _options(args: argparse.Namespace) -> Options:
    root_fs = ""
    if args.image is not None:
        root_fs = image_root_fs(args.image)
    elif args.rootfs is not None:
        root_fs = given_root_fs(args.rootfs)
    if args.shell_on_failure and not (sys.stdin.isatty() and args.document != "-"):
        raise BadInput("--shell-on-failure needs a terminal as standard input")
    return Options(
        root_fs=root_fs,
        env=tuple(parse_env(text, dict(os.environ)) for text in args.env),
        memory_mb=args.memory_mb,
        disk_mb=args.disk_mb,
        ports=tuple(parse_port(text) for text in args.port),
        user=args.user,
        timeout_s=args.timeout,
        only=args.only,
        keep=args.keep,
        shell=args.shell_on_failure,
        state_dir=args.state_dir,
        docker_host=os.environ.get("DOCKER_HOST") or DEFAULT_DOCKER_HOST,
    )


def _amount(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected MiB, 0 for no limit")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, more than 0")
    return seconds
