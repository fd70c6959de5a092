"""The client of the file server, with servers of other kinds."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from cell.apps import blobs
from cell.apps.blobs import Blobs
from cell.apps.packing import Packed
from cell.client.session import ComponentFailed
from tests.support.http import server_of

pytestmark = pytest.mark.unit


async def test_another_server_in_the_place_of_the_file_server(tmp_path: Path) -> None:
    """The command ends with one line if another program answers at the address."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    (file := tmp_path / "package").write_bytes(b"x")
    async with server_of(answer) as url, Blobs(url) as server:
        with pytest.raises(
            ComponentFailed, match="is not the file server of a `cell dev`: the response has no ETag"
        ):
            await server.droplet("d")
        with pytest.raises(ComponentFailed, match="the response has no ETag"):
            await server.put("packages", Packed(path=file, sha256="0" * 64, media="tgz"))


async def test_cells_may_call_the_file_server_by_another_name(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(headers={"ETag": '"tag"'})

    (file := tmp_path / "package").write_bytes(b"x")
    inside = "http://control-plane:8080"
    async with server_of(answer) as url, Blobs(url, inside) as server:
        package = await server.put("packages", Packed(path=file, sha256="0" * 64, media="tgz"))
        assert package.url == f"{inside}/v1/static/packages/{'0' * 64}"
        assert (await server.droplet("d")).url == f"{inside}/v1/static/droplets/d.tgz"
        uploads = server.uploads(droplet_guid="d", app_guid="a", stack="s")
        assert (uploads.uploader, uploads.droplet_uri) == (inside, f"{inside}/internal/v4/droplets/d/upload")
        assert server.lifecycle_url("lifecycle") == f"{inside}/v1/static/lifecycle/lifecycle.tgz"


async def test_a_file_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "LIMITS", aiohttp.ClientTimeout(total=0.05))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        async with Blobs(f"http://{host}:{port}") as server:
            with pytest.raises(ComponentFailed, match=r"droplets/d\.tgz: no answer in time"):
                await server.droplet("d")
