"""Listen addresses and sockets of the control plane."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from bbs.embedded.plane import Addresses, ControlPlane, PlaneConfig
from bbs.serving import connections
from bbs.serving.address import Address, ListenError, listening
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        ("[::1]:0", Address("::1", 0)),
        (":8888", Address("", 8888)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "localhost", "h:", "h:x", "h:-1", "h:65536"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "tls", "url"),
    [
        ("127.0.0.1:1", False, "http://127.0.0.1:1"),
        ("0.0.0.0:1", True, "https://127.0.0.1:1"),
        (":1", False, "http://127.0.0.1:1"),
        ("[::]:1", False, "http://[::1]:1"),
        ("10.0.0.5:1", False, "http://10.0.0.5:1"),
    ],
)
def test_where_a_client_on_this_machine_finds_it(text: str, tls: bool, url: str) -> None:
    assert Address.parse(text).url(tls=tls) == url


def test_a_taken_address_is_named() -> None:
    with listening(Address("127.0.0.1", 0), "the first") as bound:
        taken = Address("127.0.0.1", bound.getsockname()[1])
        with (
            pytest.raises(ListenError, match=f"^address 127.0.0.1:{taken.port} for the second is taken$"),
            listening(taken, "the second"),
        ):
            pass


def test_an_address_of_another_machine_is_named() -> None:
    with (
        pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:0 for it: "),
        listening(Address("192.0.2.1", 0), "it"),
    ):
        pass


def test_the_socket_is_free_again_afterwards() -> None:
    with listening(Address("127.0.0.1", 0), "once") as bound:
        address = Address("127.0.0.1", bound.getsockname()[1])
    with listening(address, "twice") as again:
        assert again.getsockname()[1] == address.port
        assert again.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("part", ["bbs", "auctioneer", "receptor", "fileserver"])
async def test_who_is_slow_with_a_request_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    anywhere = Address("127.0.0.1", 0)
    everywhere = Addresses(
        bbs=anywhere, locket=anywhere, auctioneer=anywhere, receptor=anywhere, fileserver=anywhere
    )
    async with ControlPlane(PlaneConfig(state_dir=tmp_path, addresses=everywhere)) as plane:
        address = getattr(plane.addresses, part)
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"POST /v1/tasks HTTP/1.1\r\nHost:")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
