"""Fixtures of all tests: the shared plugins of tests/support and a loggregator agent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from hypothesis import HealthCheck, settings

from bbs.client.identity import IdentityFiles
from cell.development.certs import Authority
from executor.logs.loggregator import BATCH_SENDER, SERVER_NAME
from executor.logs.proto import loggregator_pb2 as pb
from tests.support.thorough import THOROUGH, examples

pytest_plugins = [
    f"tests.support.{name}" for name in ("captures", "cell", "certificates", "engines", "planes")
]


class LoggregatorAgent:
    """Takes batches while it listens, plainly or from clients with a certificate of its authority."""

    def __init__(self) -> None:
        self.batches: list[pb.EnvelopeBatch] = []
        self.streams = 0
        self._came = asyncio.Condition()

    @property
    def envelopes(self) -> list[pb.Envelope]:
        return [each for one in self.batches for each in one.batch]

    @property
    def payloads(self) -> list[bytes]:
        return [each.log.payload for each in self.envelopes]

    async def until(self, enough: Callable[[list[pb.Envelope]], bool], timeout_s: float = 20.0) -> None:
        """Wait until what came is enough."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: enough(self.envelopes))

    @asynccontextmanager
    async def listening(self, port: int = 0, identity: IdentityFiles | None = None) -> AsyncIterator[int]:
        """Its port, on loopback."""
        server = grpc.aio.server()
        service, method = BATCH_SENDER[1:].split("/")
        handler = grpc.stream_unary_rpc_method_handler(
            self._sender,
            request_deserializer=pb.EnvelopeBatch.FromString,
            response_serializer=pb.BatchSenderResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        address = f"127.0.0.1:{port}"
        if identity is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, _mutual_tls(identity))
        await server.start()
        try:
            yield bound
        finally:
            await server.stop(None)

    async def _sender(
        self, requests: AsyncIterator[pb.EnvelopeBatch], _: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.BatchSenderResponse:
        self.streams += 1
        async for one in requests:
            async with self._came:
                self.batches.append(one)
                self._came.notify_all()
        return pb.BatchSenderResponse()


def _mutual_tls(files: IdentityFiles) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(files.key_file.read_bytes(), files.cert_file.read_bytes())],
        root_certificates=files.ca_file.read_bytes(),
        require_client_auth=True,
    )


@pytest.fixture
def loggregator_agent() -> LoggregatorAgent:
    return LoggregatorAgent()


@pytest.fixture(scope="session")
def loggregator_identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[IdentityFiles, IdentityFiles]:
    """The agent's, which calls itself as agents do wherever they are, and a client's."""
    folder = tmp_path_factory.mktemp("loggregator")
    authority = Authority.create("loggregator-ca")
    return (
        authority.issue(folder / "agent", "agent", names=[x509.DNSName(SERVER_NAME)]),
        authority.issue(folder / "client", "client"),
    )


# Tests start hundreds of Python programs. Each loads compiled modules, also where the environment says not
# to write any: without them a program spends a third of its start in the compiler, a collection half.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell that starts the tests in the background may ignore signals; programs of the tests must not.
for _signum, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _usual)

# A busy machine is no defect: examples are not timed, and slow generation is not an error.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
)
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=500)
settings.load_profile("thorough" if THOROUGH else "untimed")
