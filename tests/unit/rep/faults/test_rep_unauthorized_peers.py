"""Unauthorized peers and invalid requests: refused, and the next request is served."""

from __future__ import annotations

import io
import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from bbs.client.identity import IdentityFiles
from bbs.client.tls import client_context
from cell.development.certs import Authority
from rep.server import MAX_BODY_BYTES

if TYPE_CHECKING:
    from tests.support.rep_doubles import FakeExecutor
    from tests.unit.rep.faults.conftest import Deployment, OpenDeployment

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", ["expired", "other CA", "server use only", "none", "no TLS"])
async def test_wrong_certificates_are_refused_by_a_cell_and_others_go_on(
    tmp_path: Path,
    open_secured: OpenDeployment,
    authority: Authority,
    tls_identity: IdentityFiles,
    kind: str,
) -> None:
    wrong = client_context(tls_identity.ca_file, tls_identity.cert_file, tls_identity.key_file)
    shown: IdentityFiles | None = None
    match kind:
        case "expired":
            shown = authority.issue(tmp_path / "wrong", "cell", lifetime=timedelta(hours=-1))
        case "other CA":
            shown = Authority.create("another").issue(tmp_path / "wrong", "cell")
        case "server use only":
            shown = authority.issue(tmp_path / "wrong", "cell", uses=(ExtendedKeyUsageOID.SERVER_AUTH,))
    if shown is not None:
        wrong.load_cert_chain(shown.cert_file, shown.key_file)
    if kind == "none":
        wrong = ssl.create_default_context(cafile=tls_identity.ca_file)
    async with (
        open_secured(tmp_path / "bbs") as deployment,
        aiohttp.ClientSession() as session,
    ):
        sides = deployment.agent.listeners
        for address, path in ((sides.network, "/state"), (sides.admin, "/ping")):
            scheme = "http" if kind == "no TLS" else "https"
            url = f"{scheme}://{address.host}:{address.port}{path}"
            with pytest.raises(aiohttp.ClientError):
                await session.get(url, ssl=wrong)
            async with session.get(url.replace("http:", "https:"), ssl=deployment.tls or True) as answer:
                assert answer.status == 200
        assert len(await deployment.offer(0)) == 1


@pytest.mark.parametrize("path", ["/work", "/v2/lrps/web/instances/i"])
async def test_a_body_no_peer_sends_is_refused_and_the_next_request_is_served(
    deployment: Deployment, path: str
) -> None:
    async with aiohttp.ClientSession() as session:
        method = "POST" if path == "/work" else "PUT"
        body = io.BytesIO(bytes(MAX_BODY_BYTES + 1))
        async with session.request(
            method, deployment.url(path), data=body, ssl=deployment.tls or True
        ) as answer:
            assert answer.status == 413
    assert len(await deployment.offer(0)) == 1


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "application/x-protobuf", "x"])
async def test_the_type_of_a_body_is_not_looked_at(
    deployment: Deployment, executor: FakeExecutor, media_type: str
) -> None:
    (container,) = await deployment.offer(0)
    async with aiohttp.ClientSession() as session:
        url = deployment.url(f"/v2/lrps/web/instances/{container.guid}")
        headers = {"Content-Type": media_type}
        body = b'{"metric_tags":{"k":"v"},"unheard_of":[1,{}]}'
        async with session.put(url, data=body, headers=headers, ssl=deployment.tls or True) as answer:
            assert (answer.status, await answer.read()) == (202, b"")
    (asked,) = [call[1] for call in executor.calls if call[0] == "update"]
    assert asked.metric_tags == {"k": "v"}
