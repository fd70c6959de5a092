"""The control plane with mutual TLS: clients need a certificate of its CA, its own parts have one."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bbs.client.http import HTTPBBSClient
from bbs.client.identity import IdentityFiles
from bbs.client.locket import LocketClient, LocketError, channel_credentials
from bbs.client.tls import TLSConfigurationError, client_context
from bbs.client.transport import Policy
from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.models.errors import BBSError
from bbs.models.locket import TypeCode
from bbs.serving.address import Address
from cell.development.certs import Authority, identity_files
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit

ANYWHERE = Address("127.0.0.1", 0)
EVERYWHERE = Addresses(
    bbs=ANYWHERE, locket=ANYWHERE, auctioneer=ANYWHERE, receptor=ANYWHERE, fileserver=ANYWHERE
)
ONCE = Policy(attempts=1)


@pytest.fixture(scope="module")
def identity(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> IdentityFiles:
    """One certificate for everything, by name only: the parts reach each other by address."""
    name = x509.DNSName("bbs.service.cf.internal")
    return authority.issue(tmp_path_factory.mktemp("tls"), "bbs", names=(name,))


def _locket(plane: ControlPlane, files: IdentityFiles) -> LocketClient:
    credentials = channel_credentials(files.ca_file, files.cert_file, files.key_file)
    return LocketClient(str(plane.addresses.locket), credentials)


async def test_the_parts_reach_each_other_and_strangers_reach_none(
    tmp_path: Path, identity: IdentityFiles
) -> None:
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=identity)
    async with asyncio.timeout(PATIENCE_S), ControlPlane(config) as plane, aiohttp.ClientSession() as http:
        assert plane.bbs_url.startswith("https://127.0.0.1:")
        async with http.get(plane.addresses.receptor.url() + "/v1/domains") as answer:
            assert (answer.status, await answer.json()) == (200, [])

        async with HTTPBBSClient(plane.bbs_url.replace("https", "http"), policy=ONCE) as stranger:
            with pytest.raises(BBSError):
                await stranger.ping()


@pytest.mark.parametrize("kind", ["expired", "other CA", "server use only", "none"])
async def test_wrong_certificates_are_refused_and_others_go_on(
    tmp_path: Path, authority: Authority, tls_identity: IdentityFiles, kind: str
) -> None:
    makers: dict[str, Callable[[], IdentityFiles | None]] = {
        "expired": lambda: authority.issue(tmp_path, "wrong", lifetime=timedelta(hours=-1)),
        "other CA": lambda: Authority.create("another CA").issue(tmp_path, "wrong"),
        "server use only": lambda: authority.issue(
            tmp_path, "wrong", uses=(ExtendedKeyUsageOID.SERVER_AUTH,)
        ),
        "none": lambda: None,
    }
    made = makers[kind]()
    own = client_context(tls_identity.ca_file, tls_identity.cert_file, tls_identity.key_file)
    wrong = client_context(tls_identity.ca_file, tls_identity.cert_file, tls_identity.key_file)
    if made is None:
        wrong = ssl.create_default_context(cafile=tls_identity.ca_file)
    else:
        # a program would refuse to start with an expired certificate of its own
        wrong.load_cert_chain(made.cert_file, made.key_file)
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=tls_identity)
    async with (
        asyncio.timeout(PATIENCE_S),
        ControlPlane(config) as plane,
        HTTPBBSClient(plane.bbs_url, ssl_context=own, policy=ONCE) as known,
        HTTPBBSClient(plane.bbs_url, ssl_context=wrong, policy=ONCE) as stranger,
    ):
        assert await known.ping()
        with pytest.raises(BBSError):
            await stranger.ping()
        assert await known.ping()
        if made is not None:
            locket_files = replace(tls_identity, cert_file=made.cert_file, key_file=made.key_file)
            async with _locket(plane, locket_files) as locket:
                with pytest.raises(LocketError) as caught:
                    await locket.fetch_all(TypeCode.PRESENCE, timeout_s=5)
                assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_renewed_files_serve_the_next_connections_of_all_parts(
    tmp_path: Path, tls_identity: IdentityFiles
) -> None:
    used = identity_files(tmp_path, "used")
    later = Authority.create("next CA").issue(tmp_path / "later", "local")
    _copy(tls_identity, used)
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=used, identity_check_interval_s=0.01)
    old = client_context(tls_identity.ca_file, tls_identity.cert_file, tls_identity.key_file)
    new = client_context(later.ca_file, later.cert_file, later.key_file)
    async with (
        asyncio.timeout(PATIENCE_S),
        ControlPlane(config) as plane,
        HTTPBBSClient(plane.bbs_url, ssl_context=old, policy=ONCE) as before,
        _locket(plane, tls_identity) as locket,
    ):
        assert await before.ping()
        assert await locket.fetch_all(TypeCode.PRESENCE) == []

        _copy(later, used)

        async with HTTPBBSClient(plane.bbs_url, ssl_context=new, policy=Policy(pause_s=0.05)) as after:
            assert await after.ping()
        async with _locket(plane, later) as fresh:
            assert await fresh.fetch_all(TypeCode.PRESENCE, timeout_s=5) == []
        assert await before.ping(), "the connection from before lives on"
        assert await locket.fetch_all(TypeCode.PRESENCE) == []
        await locket.renew(channel_credentials(later.ca_file, later.cert_file, later.key_file))
        assert await locket.fetch_all(TypeCode.PRESENCE, timeout_s=5) == []


def _copy(source: IdentityFiles, target: IdentityFiles) -> None:
    for name in ("ca_file", "cert_file", "key_file"):
        shutil.copyfile(getattr(source, name), getattr(target, name))


async def test_an_identity_that_cannot_be_used_is_named(tmp_path: Path, identity: IdentityFiles) -> None:
    broken = replace(identity, key_file=tmp_path / "missing.key")
    plane = ControlPlane(PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, tls=broken))

    with pytest.raises(TLSConfigurationError, match=r"missing\.key"):
        await plane.__aenter__()
