"""TLS contexts: accepted peers, versions and cipher suites."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import IdentityFiles
from bbs.client.tls import TLSConfigurationError, client_context, own_certificate, server_context
from bbs.client.transport import Policy, UnansweredError
from bbs.models.events import TaskRemovedEvent
from bbs.models.task import Task
from bbs.wire.proto.domain_pb2 import DomainsResponse
from bbs.wire.sse import encode_event, number_record

if TYPE_CHECKING:
    from tests.unit.bbs.client.conftest import Identities, ScriptedServer

pytestmark = pytest.mark.unit


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, str]:
    """Protocol and cipher suite agreed on; raises what the refusing side finds wrong."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    unfinished = [client_side, server.wrap_bio(to_server, to_client, server_side=True)]
    while unfinished:
        side = unfinished.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            unfinished.append(side)
    agreed = client_side.cipher()
    assert agreed is not None
    cipher, protocol, _ = agreed
    return protocol, cipher


def client_of(identity: IdentityFiles, ca: Path | None = None) -> ssl.SSLContext:
    return client_context(ca or identity.ca_file, identity.cert_file, identity.key_file)


def server_of(identity: IdentityFiles, ca: Path | None = None) -> ssl.SSLContext:
    return server_context(ca or identity.ca_file, identity.cert_file, identity.key_file)


def test_both_sides_know_each_other(identities: Identities) -> None:
    protocol, _ = handshake(client_of(identities.good), server_of(identities.good))
    assert protocol == "TLSv1.3"


def test_suites_of_tls_1_2(identities: Identities) -> None:
    client = client_of(identities.good)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    protocol, cipher = handshake(client, server_of(identities.good))
    assert protocol == "TLSv1.2"
    assert cipher in ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256")
    client.set_ciphers("ECDHE-RSA-CHACHA20-POLY1305")
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        handshake(client, server_of(identities.good))


@pytest.mark.parametrize("name", ["stranger", "server_only"])
def test_a_server_refuses_this_client(identities: Identities, name: str) -> None:
    client = client_of(getattr(identities, name), ca=identities.good.ca_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server_of(identities.good))


def test_a_server_refuses_a_client_without_certificate(identities: Identities) -> None:
    client = ssl.create_default_context(cafile=identities.good.ca_file)
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        handshake(client, server_of(identities.good))


@pytest.mark.parametrize("name", ["stranger", "client_only", "elsewhere"])
def test_a_client_refuses_this_server(identities: Identities, name: str) -> None:
    server = server_of(getattr(identities, name), ca=identities.good.ca_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_of(identities.good), server)


def test_an_expired_certificate_is_not_loaded(identities: Identities) -> None:
    with pytest.raises(TLSConfigurationError, match=r"expired\.crt expired at"):
        server_of(identities.expired)


def test_own_certificate_is_the_first_in_the_file(identities: Identities, tmp_path: Path) -> None:
    chain = tmp_path / "chain.crt"
    chain.write_bytes(identities.good.cert_file.read_bytes() + identities.good.ca_file.read_bytes())
    assert own_certificate(chain).subject.rfc4514_string() == "CN=loopback"


def test_files_that_do_not_fit(identities: Identities, tmp_path: Path) -> None:
    good, missing, empty = identities.good, tmp_path / "missing", tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(TLSConfigurationError, match=r"cannot read certificate .*missing"):
        client_context(good.ca_file, missing, good.key_file)
    with pytest.raises(TLSConfigurationError, match=r"cannot read certificate .*empty"):
        client_context(good.ca_file, empty, good.key_file)
    with pytest.raises(TLSConfigurationError, match=r"cannot read CA certificates .*empty"):
        client_context(empty, good.cert_file, good.key_file)
    with pytest.raises(
        TLSConfigurationError, match=r"cannot use certificate .*loopback\.crt with key .*stranger\.key"
    ):
        client_context(good.ca_file, good.cert_file, identities.stranger.key_file)


async def test_calls_and_streams_over_tls(
    server: ScriptedServer, policy: Policy, identities: Identities
) -> None:
    removed = TaskRemovedEvent(task=Task(task_guid="t"))
    record = number_record(0, encode_event(removed))
    server.answer(DomainsResponse(domains=["d"]))
    server.stream(f"{len(record):x};\r\n".encode() + record + b"\r\n0;\r\n\r\n", then="close")
    async with await asyncio.start_server(
        server.serve, "127.0.0.1", 0, ssl=server_of(identities.good)
    ) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with HTTPBBSClient(url, ssl_context=client_of(identities.good), policy=policy) as client:
            assert await client.domains() == ["d"]
            async with client.task_events() as events:
                assert [event async for event in events] == [removed]
        async with HTTPBBSClient(url, policy=policy) as client:
            with pytest.raises(UnansweredError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.domains()
            with pytest.raises(UnansweredError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.task_events().__aenter__()
