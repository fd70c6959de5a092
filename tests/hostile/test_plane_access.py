"""Access to the control plane's listeners on real sockets, and the destinations of its own requests."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from bbs.embedded.calls.callbacks import HTTPCallbacks
from bbs.embedded.calls.destinations import Destinations
from bbs.embedded.plane import ControlPlane, PlaneConfig
from bbs.embedded.store.statefolder import SharedFolder, private_folder
from bbs.serving.address import Address
from bbs.serving.listener import serving
from tests.support.planes import EVERYWHERE

pytestmark = pytest.mark.unit

TASK = b'{"task_guid":"t","domain":"d","rootfs":"docker:///x","action":{"run":{"path":"/x","user":"u"}}}'
# -- strangers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:62501"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=str,
)
async def test_a_web_page_cannot_have_tasks_run(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """A page of another site posts a Task as text/plain: no container is made for it."""
    url = running_plane.addresses.receptor.url() + "/v1/tasks"
    async with http_session.post(url, data=TASK, headers={"Content-Type": "text/plain", **headers}) as answer:
        assert answer.status == 403
    async with http_session.get(url) as answer:
        assert await answer.json() == []


@pytest.mark.parametrize("part", ["bbs", "auctioneer", "receptor", "fileserver"])
async def test_every_plain_listener_refuses_other_sites(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, part: str
) -> None:
    address: Address = getattr(running_plane.addresses, part)
    async with http_session.post(
        address.url() + "/v1/lrps", headers={"Origin": "http://evil.example"}
    ) as answer:
        assert (answer.status, "Origin" in await answer.text()) == (403, True)
    async with http_session.post(address.url() + "/v1/lrps", headers={"Host": "rebound.example"}) as answer:
        assert (answer.status, "Host" in await answer.text()) == (403, True)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_curl_is_served_by_address_and_as_localhost(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, name: str
) -> None:
    url = f"http://127.0.0.1:{running_plane.addresses.receptor.port}/v1/tasks"
    host = f"{name}:{running_plane.addresses.receptor.port}"
    async with http_session.post(url, data=TASK, headers={"Host": host}) as answer:
        assert answer.status == 201


async def test_an_operator_may_allow_a_host(tmp_path: Path, http_session: aiohttp.ClientSession) -> None:
    config = PlaneConfig(state_dir=tmp_path, addresses=EVERYWHERE, allowed_hosts=("plane.internal",))
    async with ControlPlane(config) as running_plane:
        headers = {"Host": "plane.internal", "Origin": "https://plane.internal"}
        async with http_session.get(
            running_plane.addresses.receptor.url() + "/v1/tasks", headers=headers
        ) as answer:
            assert answer.status == 200


async def test_the_state_folder_of_a_running_plane_is_its_owners_alone(tmp_path: Path) -> None:
    """Another user of the machine reads no key and no password out of the state, nor out of an older one."""
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "bbs.db").touch(0o644)
    async with ControlPlane(PlaneConfig(state_dir=folder, addresses=EVERYWHERE)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [each for each in folder.iterdir() if each.is_file()]
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert "bbs.db-wal" in {each.name for each in files}


def test_a_folder_that_is_shared_on_purpose_stays_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    private_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_a_folder_of_others_is_refused_and_stays_open(tmp_path: Path) -> None:
    """`cell dev --state-dir /var/lib` would close the folder to all other programs of the machine."""
    folder = tmp_path / "lib"
    (folder / "postgresql").mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(SharedFolder, match=f"^{folder}: other users can read this folder"):
        private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    folder.chmod(0o700)
    private_folder(folder)


@pytest.mark.parametrize("content", ["", "lost+found", "bbs.db", "static"])
def test_a_folder_without_files_of_others_is_tightened(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "state"
    (folder / content).mkdir(parents=True)
    folder.chmod(0o755)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# -- requests that the plane makes for others ------------------------------------------------------------


@asynccontextmanager
async def other_service() -> AsyncIterator[tuple[str, list[str]]]:
    """A service on loopback that is no part of the plane: its URL, and the paths that were asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="the secret")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with serving(application, ("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/droplet/d", "cc-droplet-upload-uri"),
        ("/v1/build_artifacts/d", "cc-build-artifacts-upload-uri"),
    ],
)
async def test_the_uploader_is_no_proxy(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession, path: str, parameter: str
) -> None:
    """Uploads go to the file server's own receiving addresses: to no other service, and in no circle."""
    own = running_plane.addresses.fileserver.url()
    async with other_service() as (other, asked):
        for target in (
            f"{other}/x",
            f"{running_plane.addresses.receptor.url()}/v1/tasks",
            f"{own}/v1/droplet/d?cc-droplet-upload-uri=x",
            f"{own}/internal/v4/../../v1/droplet/d",
            own.replace("127.0.0.1", "127.0.0.2") + "/internal/v4/droplets/d/upload",
        ):
            url = f"{own}{path}?{parameter}={quote(target, safe='')}"
            async with http_session.post(url, data=b"body") as answer:
                assert (answer.status, "secret" in await answer.text()) == (403, False), target
        assert asked == []


async def test_an_upload_to_the_file_server_itself_is_taken(
    running_plane: ControlPlane, http_session: aiohttp.ClientSession
) -> None:
    own = running_plane.addresses.fileserver.url()
    for host in ("127.0.0.1", "localhost"):
        target = own.replace("127.0.0.1", host) + "/internal/v4/droplets/d1/upload"
        url = f"{own}/v1/droplet/d?cc-droplet-upload-uri={quote(target, safe='')}"
        async with http_session.post(url, data=b"droplet") as answer:
            assert answer.status == 201
    async with http_session.get(f"{own}/v1/static/droplets/d1.tgz") as answer:
        assert await answer.read() == b"droplet"


async def test_a_callback_reaches_a_service_on_loopback_and_no_listener_of_the_plane(
    running_plane: ControlPlane,
) -> None:
    async with (
        other_service() as (other, asked),
        HTTPCallbacks(destinations=running_plane._destinations()) as callbacks,
    ):
        assert await callbacks.deliver(f"{other}/done", "{}")
        for part in ("bbs", "receptor", "auctioneer", "fileserver"):
            address: Address = getattr(running_plane.addresses, part)
            for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"):
                assert not await callbacks.deliver(f"http://{host}:{address.port}/v1/x", "{}"), (part, host)
        for bad in (
            "http://[::1",
            "ftp://x",
            "x",
            "http://169.254.169.254/",
            "http://\udc80/",
            "http://h:99999/",
        ):
            assert not await callbacks.deliver(bad, "{}"), bad
    assert asked == ["/done"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("8.8.8.8", True),
        ("fd00::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("ff02::1", False),
    ],
)
def test_where_callbacks_may_go(host: str, allowed: bool) -> None:
    assert (Destinations().refusal(host, 80) == "") == allowed
