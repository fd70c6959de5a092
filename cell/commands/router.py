"""Route HTTP requests to the instances of apps, by the `cf-router` routes of their LRPs.

A request goes to an instance of the app whose route names its host, and the longest matching path. If an
instance accepts no connection, the next one gets the request. WebSockets pass through. The router adds the
platform's headers (X-Forwarded-For, X-Vcap-Request-Id, ...). Its own errors have the header X-Cf-RouterError.
Apps that set the cookie JSESSIONID have sticky sessions.

The component log goes to standard output as JSON lines. Exit status: 0 after SIGTERM or SIGINT.

  cell router --address 127.0.0.1:8000
  curl http://shop.localhost:8000/
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack

import click

from bbs.client.http import HTTPBBSClient
from bbs.serving.address import Address, ListenError, listening
from cell.assembly import lagerlog
from cell.assembly.process import raise_descriptor_limit, stop_signals
from cell.client.session import Session, bbs_command
from cell.client.values import listen_address
from cell.errors import CommandError

DEFAULT_ADDRESS = "127.0.0.1:8000"

logger = logging.getLogger(__name__)


@bbs_command()
@click.option(
    "--address",
    type=listen_address,
    default=DEFAULT_ADDRESS,
    metavar="HOST:PORT",
    help=f"listen address for requests (default: {DEFAULT_ADDRESS})",
)
@click.option(
    "--health-address",
    type=listen_address,
    metavar="HOST:PORT",
    help="listen address of GET /health (default: none)",
)
async def router(session: Session, address: Address, health_address: Address | None) -> None:
    # A local import: options are read and completed without the server's modules.
    from cell.routing.service import routing, status_page

    lagerlog.install(sys.stdout, source="router", time_format="rfc3339")
    raise_descriptor_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in stop_signals():
        loop.add_signal_handler(signum, stop.set)
    try:
        async with AsyncExitStack() as stack:
            where = stack.enter_context(listening(address, "the router"))
            tls = session.target.ssl_context()
            bbs = await stack.enter_async_context(HTTPBBSClient(session.target.bbs_url, ssl_context=tls))
            follower = await stack.enter_async_context(routing(bbs, where))
            data = {"address": str(Address(address.host, where.getsockname()[1]))}
            if health_address is not None:
                status = await stack.enter_async_context(status_page(health_address, follower))
                data["health_address"] = str(status)
            logger.info("started", extra={"data": data})
            await stop.wait()
            logger.info("stopping")
    except ListenError as error:
        raise CommandError(str(error)) from error
