"""BBS client for long-running programs: protobuf over HTTP with pooled connections.

>>> async with HTTPBBSClient("https://bbs.service.cf.internal:8889", ssl_context=context) as bbs:
...     lrps = await bbs.actual_lrps(cell_id="cell-1")

The calls are in one module per group. ``bbs.client.transport`` interprets responses and retries requests.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import aiohttp

from bbs.client.api import BBSClient
from bbs.client.pooled import PooledClient
from bbs.client.transport import (
    ROUTER_ERROR_HEADER,
    UNCOMPRESSED,
    Answer,
    Policy,
    Transport,
    bounded,
    connection_failed,
    no_answer_in_time,
)
from common.metrics.instruments import Instruments


class HTTPBBSClient(BBSClient):
    """BBS client over pooled connections. Use as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        policy: Policy | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        """url: scheme, host and port. ssl_context: for https, see :mod:`bbs.client.tls`."""
        transport = PooledTransport(url, ssl_context, policy or Policy())
        transport.instruments = instruments or transport.instruments
        super().__init__(transport)


class PooledTransport(PooledClient, Transport):
    """Connections to one BBS, pooled for all its calls."""

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None, policy: Policy) -> None:
        # No connection limit: a report about one instance must not wait for those of others.
        PooledClient.__init__(self, ssl_context, headers=UNCOMPRESSED, auto_decompress=False)
        Transport.__init__(self, url, ssl_context, policy)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        timeout = aiohttp.ClientTimeout(
            total=self.policy.request_timeout_s, sock_connect=self.policy.dial_timeout_s
        )
        try:
            async with self.session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return Answer(
                    status=response.status,
                    media_type=response.content_type,
                    router_error=response.headers.get(ROUTER_ERROR_HEADER, ""),
                    body=await bounded(url, response.content.readany, self.policy.answer_bytes),
                )
        except TimeoutError as error:
            raise no_answer_in_time(url, self.policy) from error
        except (aiohttp.ClientError, OSError) as error:
            raise connection_failed(url, error) from error
