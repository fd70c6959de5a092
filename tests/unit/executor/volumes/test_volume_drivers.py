"""Volume drivers: discovery, the plugin protocol over a unix socket, the volumes of containers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from executor.engine.api import BindMount
from executor.model import VolumeMount
from executor.volumes.api import VolumeError
from executor.volumes.manager import VolumeManager, unique_name
from executor.volumes.plugin import PluginDriver, safe_description
from executor.volumes.specs import DriverSpec, InvalidSpec, TLSFiles, find_specs, read_spec

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("file", "content", "spec"),
    [
        (
            "nfs.json",
            '{"Name":"other","Addr":"http://127.0.0.1:7589"}',
            DriverSpec(name="nfs", url="http://127.0.0.1:7589"),
        ),
        (
            "nfs.json",
            '{"Addr":"https://h:1/","TLSConfig":{"CAFile":"/ca","InsecureSkipVerify":true},'
            '"UniqueVolumeIds":true}',
            DriverSpec(
                name="nfs",
                url="https://h:1",
                tls=TLSFiles(ca_file="/ca", insecure_skip_verify=True),
                unique_volume_ids=True,
            ),
        ),
        ("nfs.spec", "tcp://127.0.0.1:7589\n", DriverSpec(name="nfs", url="http://127.0.0.1:7589")),
        (
            "nfs.spec",
            "unix:///run/nfs.sock",
            DriverSpec(name="nfs", url="http://driver", socket="/run/nfs.sock"),
        ),
    ],
)
def test_an_announcement(tmp_path: Path, file: str, content: str, spec: DriverSpec) -> None:
    (tmp_path / file).write_text(content)
    assert read_spec(tmp_path / file) == spec


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("x.json", "{", "not JSON"),
        ("x.json", "[]", "not a JSON object"),
        ("x.json", "{}", "address '' is neither"),
        ("x.json", '{"Addr":7}', "Addr is not a string"),
        ("x.spec", "ftp://h", "address 'ftp://h' is neither"),
        ("x.spec", "unix://", "address 'unix://' is neither"),
        ("x.spec", "http://[::1", "address 'http://\\[::1': Invalid IPv6 URL"),
        ("x.spec", "http://h:99999", "Port out of range"),
        ("x.spec", "http://h:port", "Port could not be cast"),
        ("x.spec", "http://:1", "address 'http://:1' is neither"),
        ("x.json", "[" * 60_000, "not JSON"),
        ("x.json", '{"Addr":' + "1" * 5_000 + "}", "not JSON"),
        ("x.json", " " * 70_000, "more than 65536 bytes"),
    ],
)
def test_an_announcement_nobody_understands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, content: str, message: str
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(InvalidSpec, match=message):
        read_spec(tmp_path / file)
    assert find_specs([str(tmp_path)]) == {}
    assert caplog.messages == ["invalid-volume-driver-spec"]


def test_an_announcement_that_is_no_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """A FIFO or a directory named like an announcement is refused; nothing is waited for."""
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "folder.spec").mkdir()
    (tmp_path / "good.spec").write_text("http://h:1")
    assert [*find_specs([str(tmp_path)])] == ["good"]


@pytest.mark.parametrize(
    "error", [RecursionError, UnicodeDecodeError("utf-8", b"x", 0, 1, "no"), MemoryError, KeyError]
)
async def test_a_driver_that_fails_in_any_way_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "bad.spec").write_text("http://bad:1")
    (tmp_path / "good.spec").write_text("http://good:1")

    async def activate(driver: PluginDriver) -> None:
        if driver.spec.name == "bad":
            raise error

    monkeypatch.setattr(PluginDriver, "activate", activate)
    manager = VolumeManager([str(tmp_path)])
    await manager.start({})
    assert manager.drivers == ["good"]
    await manager.close()


def test_the_first_announcement_of_a_name_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (first / "a.spec").write_text("http://spec:1")
    (first / "a.json").write_text('{"Addr":"http://json:1"}')
    (first / "b.sock").write_text("")
    (first / "notes.txt").write_text("http://notes:1")
    (second / "a.json").write_text('{"Addr":"http://second:1"}')
    (second / "c.spec").write_text("http://second:2")
    found = find_specs([str(first), str(tmp_path / "missing"), str(second)])
    assert {name: spec.socket or spec.url for name, spec in found.items()} == {
        "a": "http://json:1",
        "b": f"{first}/b.sock",
        "c": "http://second:2",
    }


@pytest.mark.parametrize(
    ("error", "safe"),
    [
        ('{"SafeDescription":"share not found"}', "share not found"),
        ('{"SafeDescription":7}', ""),
        ('["SafeDescription"]', ""),
        ("password hunter2 refused", ""),
    ],
)
def test_only_what_a_driver_marks_is_told_to_users(error: str, safe: str) -> None:
    assert safe_description(error) == safe


def test_the_parts_of_a_unique_name_can_be_told_apart() -> None:
    assert unique_name("a_b", "g_1") == "a=b_g=1"


class ScriptedDriver:
    """A server of the plugin protocol that records its calls."""

    def __init__(self, mountpoint: Path) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.waits: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}
        self.answers: dict[str, object] = {
            "Plugin.Activate": {"Implements": ["VolumeDriver"]},
            "VolumeDriver.Mount": {"Mountpoint": str(mountpoint)},
            "VolumeDriver.List": {"Volumes": [{"Name": "left"}, {"Name": "behind"}]},
        }

    async def handle(self, request: web.Request) -> web.Response:
        call = request.path.removeprefix("/")
        self.calls.append((call, json.loads(await request.text())))
        if call in self.waits:
            asked, answer = self.waits[call]
            asked.set()
            await answer.wait()
        answer = self.answers.get(call, {})
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/json", charset="no-such-charset")
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(text=text, status=500 if '"Err": "broken"' in text else 200)

    def called(self, call: str) -> list[Mapping[str, Any]]:
        return [body for name, body in self.calls if name == call]


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ScriptedDriver]:
    """Listens at ``nfs.sock`` in the directory of announcements."""
    scripted = ScriptedDriver(tmp_path / "mounted")
    app = web.Application()
    app.router.add_post("/{call}", scripted.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    (tmp_path / "drivers").mkdir()
    await web.UnixSite(runner, str(tmp_path / "drivers" / "nfs.sock")).start()
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def volumes(driver: ScriptedDriver, tmp_path: Path) -> AsyncIterator[VolumeManager]:
    manager = VolumeManager([str(tmp_path / "drivers")])
    await manager.start({})
    yield manager
    await manager.close()


def volume(**changes: Any) -> VolumeMount:
    values: dict[str, Any] = {
        "driver": "nfs",
        "volume_id": "v_1",
        "container_dir": "/data",
        "read_only": False,
        "config": {"source": "nfs://share"},
    }
    return VolumeMount(**{**values, **changes})


async def test_a_start_gives_back_what_was_left_mounted(
    volumes: VolumeManager, driver: ScriptedDriver
) -> None:
    assert volumes.drivers == ["nfs"]
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "left"}, {"Name": "behind"}]


async def test_volumes_of_kept_containers_stay_mounted_until_their_end(
    driver: ScriptedDriver, tmp_path: Path
) -> None:
    driver.answers["VolumeDriver.List"] = {"Volumes": [{"Name": "left"}, {"Name": "share"}]}
    manager = VolumeManager([str(tmp_path / "drivers")])
    await manager.start({"ig": [volume(volume_id="share"), volume(driver="gone", volume_id="other")]})
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "left"}]
    await manager.unmount("ig")
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "left"}, {"Name": "share"}]
    await manager.close()


async def test_one_volume_that_resists_does_not_keep_the_others_mounted(
    driver: ScriptedDriver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    driver.answers["VolumeDriver.Unmount"] = {"Err": "busy"}
    manager = VolumeManager([str(tmp_path / "drivers")])
    await manager.start({})
    await manager.close()
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "left"}, {"Name": "behind"}]
    assert [
        r.__dict__["data"]["error"] for r in caplog.records if r.message == "failed-to-purge-volumes"
    ] == [
        "driver nfs: VolumeDriver.Unmount: busy",
        "driver nfs: VolumeDriver.Unmount: busy",
    ]


async def test_a_mount_nobody_waited_for_is_given_back(
    volumes: VolumeManager, driver: ScriptedDriver
) -> None:
    """The driver may have gone through with it."""
    asked, answer = asyncio.Event(), asyncio.Event()
    driver.waits["VolumeDriver.Mount"] = (asked, answer)
    mounting = asyncio.create_task(volumes.mount("ig", [volume()]))
    await asked.wait()
    mounting.cancel()
    await asyncio.wait([mounting])
    answer.set()
    driver.calls.clear()
    await volumes.unmount("ig")
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "v_1"}]


async def test_a_volume_is_made_mounted_and_given_back(
    volumes: VolumeManager, driver: ScriptedDriver, tmp_path: Path
) -> None:
    driver.calls.clear()
    mounts = await volumes.mount("ig", [volume(), volume(volume_id="v2", container_dir="/x", read_only=True)])
    assert mounts == (
        BindMount(source=str(tmp_path / "mounted"), target="/data", read_only=False),
        BindMount(source=str(tmp_path / "mounted"), target="/x", read_only=True),
    )
    await volumes.unmount("ig")
    await volumes.unmount("ig")
    assert driver.calls == [
        ("VolumeDriver.Create", {"Name": "v_1", "Opts": {"source": "nfs://share"}}),
        ("VolumeDriver.Mount", {"Name": "v_1"}),
        ("VolumeDriver.Create", {"Name": "v2", "Opts": {"source": "nfs://share"}}),
        ("VolumeDriver.Mount", {"Name": "v2"}),
        ("VolumeDriver.Unmount", {"Name": "v_1"}),
        ("VolumeDriver.Unmount", {"Name": "v2"}),
    ]


@pytest.mark.parametrize(
    "answer", [b"\xff\xfe", b"[" * 100_000, b'{"Mountpoint":' + b"9" * 5_000 + b"}", b" " * (5 << 20)]
)
async def test_an_answer_that_is_no_answer_is_a_volume_error(
    volumes: VolumeManager, driver: ScriptedDriver, answer: bytes
) -> None:
    """Bytes that are no text, an unknown charset, deep or long JSON: the mount fails, and says so."""
    driver.answers["VolumeDriver.Mount"] = answer
    with pytest.raises(VolumeError, match=r"driver nfs: VolumeDriver\.Mount: "):
        await volumes.mount("ig", [volume()])


async def test_drivers_that_need_it_get_a_name_per_container(
    volumes: VolumeManager, driver: ScriptedDriver, tmp_path: Path
) -> None:
    announced = {"Addr": f"unix://{tmp_path}/drivers/nfs.sock", "UniqueVolumeIds": True}
    (tmp_path / "drivers" / "nfs.json").write_text(json.dumps(announced))
    await volumes.discover()
    await volumes.mount("ig", [volume()])
    assert driver.called("VolumeDriver.Mount") == [{"Name": "v=1_ig"}]


async def test_what_was_mounted_before_a_failure_is_given_back(
    volumes: VolumeManager, driver: ScriptedDriver
) -> None:
    driver.calls.clear()
    with pytest.raises(VolumeError, match="Plugin 'smb' not found in list of known plugins"):
        await volumes.mount("ig", [volume(), volume(driver="smb")])
    await volumes.unmount("ig")
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "v_1"}]


@pytest.mark.parametrize(
    ("call", "answer", "safe"),
    [
        ("VolumeDriver.Mount", {"Err": '{"SafeDescription":"share not found"}'}, "share not found"),
        ("VolumeDriver.Create", {"Err": '{"SafeDescription":"share not found"}'}, ""),
        ("VolumeDriver.Mount", {"Err": "broken"}, ""),
        ("VolumeDriver.Mount", {"Mountpoint": ""}, ""),
        ("VolumeDriver.Mount", "<html>", ""),
    ],
)
async def test_a_driver_that_fails(
    volumes: VolumeManager, driver: ScriptedDriver, call: str, answer: object, safe: str
) -> None:
    driver.answers[call] = answer
    with pytest.raises(VolumeError, match="driver nfs") as raised:
        await volumes.mount("ig", [volume()])
    assert raised.value.safe == safe


async def test_an_unmount_that_fails_is_logged(
    volumes: VolumeManager, driver: ScriptedDriver, caplog: pytest.LogCaptureFixture
) -> None:
    await volumes.mount("ig", [volume()])
    driver.answers["VolumeDriver.Unmount"] = {"Err": "busy"}
    await volumes.unmount("ig")
    assert "failed-to-unmount-volume" in caplog.messages


@pytest.mark.parametrize("answer", [{"Implements": ["Authz"]}, {"Implements": None}, {"Err": "asleep"}])
async def test_a_driver_that_stops_answering_is_not_offered(
    volumes: VolumeManager, driver: ScriptedDriver, answer: object
) -> None:
    active = driver.answers["Plugin.Activate"]
    await volumes.mount("ig", [volume()])
    driver.answers["Plugin.Activate"] = answer
    await volumes.discover()
    assert volumes.drivers == []
    driver.answers["Plugin.Activate"] = active
    await volumes.discover()
    assert volumes.drivers == ["nfs"]
    driver.calls.clear()
    await volumes.unmount("ig")
    assert driver.called("VolumeDriver.Unmount") == [{"Name": "v_1"}]


async def test_a_driver_whose_announcement_goes_is_gone(volumes: VolumeManager, tmp_path: Path) -> None:
    (tmp_path / "drivers" / "nfs.sock").unlink()
    await volumes.discover()
    assert volumes.drivers == []


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    (folder / "below").mkdir(parents=True)
    (folder / "out").symlink_to("/etc")
    return folder


@pytest.mark.parametrize("below", ["", "below", "below/../below"])
async def test_allowed_host_directories_are_volumes(shared: Path, below: str) -> None:
    manager = VolumeManager((), [str(shared)])
    assert manager.drivers == ["bind"]
    [mount] = await manager.mount("ig", [volume(driver="bind", config={"source": f"{shared}/{below}"})])
    assert Path(mount.source) == (shared / below).resolve()
    await manager.unmount("ig")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (lambda shared: "/etc", "not among the host paths"),
        (lambda shared: f"{shared}/../x", "No such file"),
        (lambda shared: f"{shared}/out/ssl", "not among the host paths"),
        (lambda shared: f"{shared}/below/../..", "not among the host paths"),
        (lambda shared: f"{shared}/missing", "No such file"),
        (lambda shared: "below", "needs an absolute path"),
        (lambda shared: "/\0", "no path"),
        (lambda shared: 7, "needs an absolute path"),
    ],
)
async def test_other_host_directories_are_refused(
    shared: Path, source: Callable[[Path], object], reason: str
) -> None:
    manager = VolumeManager((), [str(shared)])
    with pytest.raises(VolumeError, match=reason) as raised:
        await manager.mount("ig", [volume(driver="bind", config={"source": source(shared)})])
    assert raised.value.safe == str(raised.value)


async def test_without_allowed_directories_there_is_no_such_driver() -> None:
    manager = VolumeManager(())
    assert manager.drivers == []
    await manager.run()
