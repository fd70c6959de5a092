"""Run the embedded control plane without a cell, for cells on this and other machines.

  BBS API       protobuf over HTTP     REST API      LRPs, Tasks, cells as JSON
  Locket        gRPC                   file server   /v1/static/, uploads
  loggregator   app logs from cells    app logs      the last lines of every app, and new lines
                                       page          cells, apps, Tasks and logs in a browser

With --ca-cert, --cert and --key the left ones use mutual TLS and may listen beyond loopback. The certificate
must name the hosts by which cells and clients call them, and `metron`. The right ones have no TLS: with them,
everyone who reaches a listener can run containers or read logs, so they listen on loopback without
--trusted-network.

The state folder contains the database and the file server's files. The component log goes to standard output
as JSON lines. Exit status: 0 after SIGTERM, SIGINT or SIGHUP.

  cell control-plane
  cell control-plane --bbs-address 0.0.0.0:8889 --locket-address 0.0.0.0:8891 --ca-cert ca.crt \\
    --cert control-plane.crt --key control-plane.key
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bbs.client.identity import IdentityFiles
from bbs.serving.address import Address
from cell.cli import FILE, FOLDER, Command, command, state_dir_option
from cell.client.values import listen_address
from cell.commands.dev import CONVERGENCE_INTERVAL_S

DEFAULT_STATE_DIR = Path("/var/lib/diego-cell/dev")

LISTENERS = {
    "bbs": ("127.0.0.1:8889", "of the BBS API"),
    "locket": ("127.0.0.1:8891", "of Locket"),
    "auctioneer": ("127.0.0.1:9016", "of the auctioneer"),
    "loggregator": ("127.0.0.1:3458", "for app logs from cells; only with TLS"),
    "api": ("127.0.0.1:8888", "of the REST API"),
    "file-server": ("127.0.0.1:8080", "of the file server"),
    "logs": ("127.0.0.1:8087", "of the app logs"),
    "page": ("127.0.0.1:8086", "of the page for a browser"),
}
"""Listener -> default address and what it is for."""


def _listener_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, (default, text) in reversed(LISTENERS.items()):
        function = click.option(
            f"--{name}-address",
            type=listen_address,
            default=default,
            metavar="HOST:PORT",
            help=f"listen address {text} (default: {default})",
        )(function)
    return function


@command(Command)
@state_dir_option(DEFAULT_STATE_DIR)
@_listener_options
@click.option("--ca-cert", type=FILE, metavar="FILE", help="CA of the certificates of cells and clients")
@click.option("--cert", type=FILE, metavar="FILE", help="the certificate of the control plane")
@click.option("--key", type=FILE, metavar="FILE", help="the key of the certificate")
@click.option(
    "--trusted-network", is_flag=True, help="let listeners without TLS be reached from other machines"
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="a name by which clients may call listeners without TLS (repeatable)",
)
@click.option(
    "--upload-host",
    "upload_hosts",
    multiple=True,
    metavar="HOST:PORT",
    help="the file server as cells call it, beside its own address (repeatable)",
)
@click.option(
    "--convergence-interval",
    "convergence_interval_s",
    type=float,
    default=CONVERGENCE_INTERVAL_S,
    metavar="SECONDS",
    help=f"time between two passes over the records (default: {CONVERGENCE_INTERVAL_S:g})",
)
@click.option(
    "--bundle", type=FOLDER, metavar="DIR", help="lifecycle archives to serve, as `make bundle` leaves them"
)
def control_plane(
    state_dir: Path,
    ca_cert: Path | None,
    cert: Path | None,
    key: Path | None,
    allowed_hosts: Sequence[str],
    **values: Any,
) -> int:
    identity = None
    if ca_cert and cert and key:
        ca_cert, cert, key = ca_cert.absolute(), cert.absolute(), key.absolute()
        identity = IdentityFiles(ca_file=ca_cert, cert_file=cert, key_file=key)
    elif ca_cert or cert or key:
        raise click.UsageError("--ca-cert, --cert and --key need each other")
    # A local import: options are read and completed without the servers' modules.
    from cell.development.controlplane import Listeners, Settings, serve

    places: dict[str, Address] = {
        name.replace("-", "_"): values.pop(f"{name.replace('-', '_')}_address") for name in LISTENERS
    }
    return serve(
        Settings(
            state_dir=state_dir.absolute(),
            listeners=Listeners(**places),
            identity=identity,
            allowed_hosts=[name.lower() for name in allowed_hosts],
            **values,
        )
    )
