"""Resolution of rootfs URIs, and requests for the same image."""

from __future__ import annotations

import asyncio

import pytest

from executor.engine.images import Archive, ImageRef, Local, Pulled, PullProgress, parse_root_fs
from executor.engine.singleflight import SingleFlight
from executor.errors import ImageError

pytestmark = pytest.mark.unit

HEX = "ab" * 32


@pytest.mark.parametrize(
    ("root_fs", "registry", "name"),
    [
        ("docker:///busybox", "docker.io", "library/busybox:latest"),
        ("docker:///library/busybox#latest", "docker.io", "library/busybox:latest"),
        ("docker:///cloudfoundry/grace#v1", "docker.io", "cloudfoundry/grace:v1"),
        ("docker://docker.io/library/busybox", "docker.io", "library/busybox:latest"),
        ("docker://docker.io/busybox#1", "docker.io", "library/busybox:1"),
        ("docker://reg.example.com:5000/a/b#1.2", "reg.example.com:5000", "reg.example.com:5000/a/b:1.2"),
        ("docker://localhost/x", "localhost", "localhost/x:latest"),
        (f"docker:///a/b@sha256#{HEX}", "docker.io", f"a/b@sha256:{HEX}"),
        (f"docker:///a/b#v1@sha256:{HEX}", "docker.io", f"a/b@sha256:{HEX}"),
    ],
)
def test_docker_uris(root_fs: str, registry: str, name: str) -> None:
    source = parse_root_fs(root_fs)
    assert isinstance(source, Pulled)
    assert (source.ref.registry, str(source.ref)) == (registry, name)


@pytest.mark.parametrize(
    ("root_fs", "name"),
    [
        ("busybox", "busybox:latest"),
        ("preloaded:diego/cflinux:4", "diego/cflinux:4"),
        ("reg.example.com:5000/a/b:1.2", "reg.example.com:5000/a/b:1.2"),
        ("localhost/x", "localhost/x:latest"),
        ("preloaded+layer:stack:1?layer=a&layer_path=b&layer_digest=c", "stack:1"),
    ],
)
def test_preloaded_image_references(root_fs: str, name: str) -> None:
    source = parse_root_fs(root_fs)
    assert isinstance(source, Local)
    assert str(source.ref) == name


@pytest.mark.parametrize(
    "root_fs", ["/stacks/a.tar", "preloaded:/stacks/a.tar", "preloaded+layer:/stacks/a.tar?layer=x"]
)
def test_preloaded_archives(root_fs: str) -> None:
    assert parse_root_fs(root_fs) == Archive(path="/stacks/a.tar")


@pytest.mark.parametrize(
    "root_fs",
    ["", "docker:busybox", "docker://", "docker:///", "docker:///a@sha256#12", "raw:///x", "http://x/y"],
)
def test_what_is_no_root(root_fs: str) -> None:
    with pytest.raises(ImageError):
        parse_root_fs(root_fs)


@pytest.mark.parametrize(
    "image",
    [
        "docker:///../containers/victim",
        "docker:///a/../../b",
        "docker://../containers",
        "docker://host:port/a",
        "docker://user@host/a",
        "docker://ho st/a",
        "docker:///a b",
        "docker:///A",
        "docker:///a//b",
        "docker:///a/",
        "docker:///a?b",
        "docker:///a%2e",
        "docker:///a\n",
        "docker:///a#../b",
        "docker:///a#b/c",
        "docker:///a#" + "t" * 129,
        "docker:///" + "a" * 256,
        "../a",
    ],
)
def test_a_name_that_registries_do_not_have_reaches_no_engine(image: str) -> None:
    """The engine's address of an image is made of its name: one with ``..`` would be the address of another
    thing."""
    with pytest.raises(ImageError, match="invalid image reference"):
        parse_root_fs(image)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("docker://[::1]:5000/a", "[::1]:5000/a:latest"),
        ("docker://R.example.com:80/a/b__c/d-e.f/g--h#T_1.2-x", "R.example.com:80/a/b__c/d-e.f/g--h:T_1.2-x"),
        ("docker://localhost/1/2", "localhost/1/2:latest"),
        ("docker://docker.io/a_b/c", "a_b/c:latest"),
    ],
)
def test_names_that_registries_have(image: str, name: str) -> None:
    source = parse_root_fs(image)
    assert isinstance(source, Pulled)
    assert str(source.ref) == name


def test_an_image_of_the_hub_is_named_without_it() -> None:
    assert ImageRef(registry="docker.io", repository="a/b", tag="t").name == "a/b"


class Job:
    """A job that waits to be let through, and counts."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.runs = 0
        self.cancelled = False

    async def __call__(self, told: object) -> int:
        assert callable(told)
        self.runs += 1
        told(f"run {self.runs}")
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.runs


async def test_equal_requests_share_one_run_and_later_ones_do_not() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    job = Job()
    heard: list[str] = []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.run("a", job, heard.append))
        second = group.create_task(flights.run("a", job, heard.append))
        await job.started.wait()
        job.go.set()
    assert (first.result(), second.result(), job.runs) == (1, 1, 1)
    assert heard == ["run 1", "run 1"]
    assert await flights.run("a", job, heard.append) == 2


async def test_a_run_ends_with_its_last_caller_only() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    job = Job()
    tasks = [asyncio.create_task(flights.run("a", job, lambda _: None)) for _ in range(2)]
    await job.started.wait()
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    assert not job.cancelled
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    assert job.cancelled


async def test_a_failure_reaches_everybody() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail(_: object) -> int:
        raise ImageError("no")

    results = await asyncio.gather(
        *(flights.run("a", fail, lambda _: None) for _ in range(2)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["no", "no"]


def test_progress_of_a_pull_is_told_now_and_then() -> None:
    def line(status: str, layer: str = "", **detail: int) -> dict[str, object]:
        return {"status": status, "id": layer, "progressDetail": detail}

    transfer = PullProgress("reg/app:1", 0.0)
    seen = [
        transfer.news(line("Pulling from app", "1"), 2.0),
        transfer.news(line("Downloading", "a", current=1 << 20, total=4 << 20), 2.5),
        transfer.news(line("Downloading", "b", current=0, total=8 << 20), 2.6),
        transfer.news(line("Downloading", "b", current=2 << 20, total=8 << 20), 3.5),
        transfer.news(line("Download complete", "a"), 4.5),
        transfer.news({"error": "no space left on device"}, 4.6),
    ]
    assert seen == [
        "",
        "pulling image reg/app:1: 1M of 4M",
        "",
        "pulling image reg/app:1: 3M of 12M",
        "pulling image reg/app:1: 6M of 12M",
        "",
    ]
