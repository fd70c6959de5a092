"""Run a control plane and a cell on this machine, in the foreground; Ctrl-C stops it cleanly.

Everything listens on loopback:

  BBS API       127.0.0.1:8889   protobuf over HTTP, for a rep or any BBS client
  Locket        127.0.0.1:8891   gRPC
  auctioneer    127.0.0.1:9016
  REST API      127.0.0.1:8888   LRPs, Tasks, cells, domains, events as JSON, for example with curl
  file server   127.0.0.1:8080   serves STATE/static under /v1/static/, accepts uploads
  app logs      127.0.0.1:8087   the last lines of every app, and new lines
  page          127.0.0.1:8086   cells, apps, Tasks, steps and logs, live in a browser: http://127.0.0.1:8086/
  rep           127.0.0.1:1800   admin side: /ping, /evacuate, /outcomes, /orphans, /page, /metrics
                127.0.0.1:1801   network side: /state, /work ...

With --tls all listeners use mutual TLS, except REST API, file server, app logs and page. STATE/tls/ then
contains a CA and an identity for each party; client.crt and client.key are for your own programs. Instances
always have identities; their CA is STATE/tls/instance-ca.crt.

With --cells 3 there are three cells, in zones z1 to z3, the second one on ports 1802 and 1803 and so on;
with --cells 0 there is only the control plane, for cells started with `cell rep`.

The state folder contains the control plane's database (desired work survives a restart), the download cache,
the component log (cell.log) and, while `cell dev` runs, endpoints.json with all addresses. Only its owner can
read it, and only one `cell dev` at a time uses it. SIGTERM and a closed terminal end `cell dev` like Ctrl-C.
They end all containers; the next `cell dev` goes on with those of one that was killed.

The preloaded root filesystems are `busybox` and `cellfs`, which adds bash and Python. App logs are printed as
they come; if the terminal is stopped, lines are dropped and cell.log has their number. A start removes
packages, droplets and caches older than a day that no LRP or Task names.

The in-container programs (launcher, builder, sshd, healthcheck) come from a bundle, which is built if it is
missing. A declarative_healthcheck_path in a rep.json has priority.

  cell dev &
  curl -X POST -d @examples/task.json http://127.0.0.1:8888/v1/tasks
  curl http://127.0.0.1:8888/v1/tasks/sum
  cell push examples/apps/python
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cell.cli import FILE, FOLDER, Command, command, require_root, state_dir_option
from cell.development.endpoints import DEFAULT_STATE_DIR

CONVERGENCE_INTERVAL_S = 10.0


@command(Command)
@state_dir_option(DEFAULT_STATE_DIR)
@click.option("--cells", type=int, default=1, metavar="N", help="number of cells (default: 1)")
@click.option("--tls", is_flag=True, help="use mutual TLS between control plane and cells")
@click.option(
    "--convergence-interval",
    "convergence_interval_s",
    type=float,
    default=CONVERGENCE_INTERVAL_S,
    metavar="SECONDS",
    help="time between two passes of the control plane over its records"
    f" (default: {CONVERGENCE_INTERVAL_S:g})",
)
@click.option(
    "--any-ports", is_flag=True, help="use any free ports instead of those above (see endpoints.json)"
)
@click.option(
    "--config", type=FILE, metavar="FILE", help="a rep.json for the cells; addresses and TLS are replaced"
)
@click.option(
    "--allow-privileged",
    is_flag=True,
    help="run containers that ask for it as root of this machine, as buildpack apps of 2015 do",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="a name by which clients may call the listeners, besides localhost and addresses (repeatable)",
)
@click.option(
    "--bundle",
    type=FOLDER,
    metavar="DIR",
    help="lifecycle archives, as `make bundle` leaves them in dist/ (default: built by this command)",
)
def dev(state_dir: Path, cells: int, allowed_hosts: Sequence[str], **values: Any) -> int:
    require_root("it makes containers and packet rules")
    # A local import: options are read and completed without the container engine's client.
    from cell.development.service import Settings, serve
    from cell.development.slots import SLOTS

    if not 0 <= cells <= SLOTS:
        raise click.BadParameter(f"expected 0 to {SLOTS} cells", param_hint="--cells")
    hosts = [name.lower() for name in allowed_hosts]
    return serve(Settings(state_dir=state_dir.absolute(), cells=cells, allowed_hosts=hosts, **values))
