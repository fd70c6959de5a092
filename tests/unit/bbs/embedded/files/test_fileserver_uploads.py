"""Uploads over HTTP: from a cell through the uploader to a Cloud Controller."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
from aiohttp import BodyPartReader, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from bbs.embedded.files.jobs import JOBS_KEPT, Job, UploadJobs
from bbs.embedded.files.received import BadUpload, expected_digests
from bbs.embedded.files.server import fileserver_app
from bbs.embedded.files.uploads import BUILD_ARTIFACTS, DROPLET, UploadFailed, parse_upload
from tests.support.http import answering

pytestmark = pytest.mark.unit

Client: TypeAlias = TestClient[web.Request, web.Application]
CONTENT = b"\x1f\x8b droplet " * 60_000
SHA256 = hashlib.sha256(CONTENT).digest()
DIGESTS = {
    "Content-MD5": base64.b64encode(hashlib.md5(CONTENT).digest()).decode(),
    "Content-Digest": f"sha-256=:{base64.b64encode(SHA256).decode()}:",
}


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return tmp_path / "static"


@pytest.fixture
async def client(static: Path, cloud_controller: tuple[CloudController, str]) -> AsyncIterator[Client]:
    """A client of a file server that may pass uploads on to a Cloud Controller, and to port 1."""
    hosts = (URL(cloud_controller[1]).host_port_subcomponent or "", "127.0.0.1:1")
    app = fileserver_app(static, polling_interval_s=0, upload_hosts=hosts)
    async with TestClient(TestServer(app)) as test_client:
        yield test_client


def droplet_url(client: Client, to: str = "/internal/v4/droplets/d1/upload", **query: str) -> str:
    target = quote(str(client.make_url(to)), safe="")
    return f"/v1/droplet/s1?cc-droplet-upload-uri={target}" + "".join(f"&{k}={v}" for k, v in query.items())


async def test_a_droplet_is_fetched_as_it_was_sent_after_a_restart_too(client: Client, static: Path) -> None:
    async with client.post(droplet_url(client), data=CONTENT, headers=DIGESTS) as answer:
        assert (answer.status, await answer.text()) == (201, "")
    async with client.get("/v1/static/droplets/d1.tgz") as answer:
        assert (answer.status, await answer.read()) == (200, CONTENT)
        assert answer.headers["ETag"] == f'"{SHA256.hex()}"'

    async with (
        TestClient(TestServer(fileserver_app(static))) as later,
        later.get("/v1/static/droplets/d1.tgz") as answer,
    ):
        assert await answer.read() == CONTENT


async def test_build_artifacts_are_taken_in_one_step(client: Client) -> None:
    target = quote(str(client.make_url("/internal/v4/buildpack_cache/cellfs/app/upload")), safe="")
    url = f"/v1/build_artifacts/app?cc-build-artifacts-upload-uri={target}&timeout=900"
    async with client.post(url, data=CONTENT, headers=DIGESTS) as answer:
        assert answer.status == 200
    async with client.get("/v1/static/buildpack_cache/cellfs/app.tgz") as answer:
        assert await answer.read() == CONTENT


async def test_a_later_upload_replaces_the_earlier_one(client: Client) -> None:
    for content in (b"old", b"newer"):
        async with client.post(droplet_url(client), data=content) as answer:
            assert answer.status == 201
    async with client.get("/v1/static/droplets/d1.tgz") as answer:
        assert await answer.read() == b"newer"


async def test_a_damaged_droplet_is_refused_and_leaves_the_earlier_one(client: Client, static: Path) -> None:
    async with client.post(droplet_url(client), data=CONTENT, headers=DIGESTS) as answer:
        assert answer.status == 201
    async with client.post(droplet_url(client), data=CONTENT[:-1], headers=DIGESTS) as answer:
        assert (answer.status, await answer.text()) == (500, "upload job failed\n")
    async with client.get("/v1/static/droplets/d1.tgz") as answer:
        assert await answer.read() == CONTENT
    assert list((static / ".incoming").iterdir()) == []


async def test_a_damaged_cache_is_refused_with_the_cloud_controllers_words(client: Client) -> None:
    target = quote(str(client.make_url("/internal/v4/buildpack_cache/cellfs/app/upload")), safe="")
    url = f"/v1/build_artifacts/app?cc-build-artifacts-upload-uri={target}"
    async with client.post(url, data=CONTENT[1:], headers=DIGESTS) as answer:
        assert (answer.status, await answer.text()) == (
            400,
            "status code: 400\ncontent digest did not match\n\n",
        )


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited 5 s in vain")


async def test_a_truncated_upload_leaves_nothing(client: Client, static: Path) -> None:
    _, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        f"POST {droplet_url(client)} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf".encode()
    )
    await writer.drain()
    incoming = static / ".incoming"
    await _until(lambda: incoming.is_dir() and any(incoming.iterdir()))
    writer.close()
    await writer.wait_closed()
    await _until(lambda: not any(incoming.iterdir()))
    assert not (static / "droplets").exists()


@pytest.mark.parametrize(
    ("query", "length", "status", "text"),
    [
        ({}, 1, 400, "missing cc-droplet-upload-uri parameter"),
        ({"cc-droplet-upload-uri": "http://["}, 1, 400, 'parse "http://["'),
        ({"cc-droplet-upload-uri": "elsewhere"}, 1, 400, 'parse "elsewhere"'),
        ({"cc-droplet-upload-uri": "http://h/", "timeout": "soon"}, 1, 400, "'soon'"),
        ({"cc-droplet-upload-uri": "http://h/"}, None, 411, "Missing Content Length"),
    ],
)
def test_bad_requests(query: dict[str, str], length: int | None, status: int, text: str) -> None:
    with pytest.raises(UploadFailed) as failed:
        parse_upload(DROPLET, query, length)
    assert failed.value.status == status
    assert text in str(failed.value)


def test_only_droplets_are_taken_asynchronously() -> None:
    droplet = parse_upload(DROPLET, {"cc-droplet-upload-uri": "http://u:p@h/d?x=1", "timeout": "9"}, 5)
    assert (str(droplet.target), droplet.timeout_s) == ("http://u:p@h/d?x=1&async=true", 9)
    cache = parse_upload(BUILD_ARTIFACTS, {"cc-build-artifacts-upload-uri": "http://h/c"}, 5)
    assert (str(cache.target), cache.timeout_s) == ("http://h/c", 300)


@pytest.mark.parametrize(
    ("headers", "message"), [({"Content-MD5": "!"}, "base64"), ({"Content-Digest": "sha-256=:!:"}, "base64")]
)
def test_digests_that_are_none(headers: dict[str, str], message: str) -> None:
    with pytest.raises(BadUpload, match=message):
        expected_digests(headers)


def test_unknown_digest_algorithms_do_not_count() -> None:
    assert expected_digests({"Content-Digest": "crc=:AAAA:, SHA-256=:AAAA:"}) == {"sha256": b"\0\0\0"}


@pytest.mark.parametrize("path", ["/internal/v4/packages/p1/upload", "/internal/v4/buildpacks/b.zip/upload"])
async def test_what_staging_starts_from_comes_the_same_way(client: Client, path: str) -> None:
    form = FormData()
    form.add_field("file", CONTENT, filename="x")
    async with client.post(path, data=form) as answer:
        assert answer.status == 201
    static = path.removeprefix("/internal/v4").removesuffix("/upload")
    async with client.get(f"/v1/static{static}") as answer:
        assert await answer.read() == CONTENT


@pytest.mark.parametrize("body", [b"no form", None])
async def test_something_else_than_a_form_is_refused(client: Client, body: bytes | None) -> None:
    data = body if body is not None else FormData({"other": "part"}, default_to_multipart=True)
    async with client.post("/internal/v4/packages/p1/upload", data=data) as answer:
        assert answer.status == 400
        assert "`file`" in await answer.text()


BROKEN_FORMS = {
    "a line of a head that is too long": b"--B\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\nabc\r\n--B--\r\n",
    "a head with too many lines": b"--B\r\n" + b"X: y\r\n" * 10_000 + b"\r\nabc\r\n--B--\r\n",
    "a head without a colon": b"--B\r\nnone\r\n\r\nabc\r\n--B--\r\n",
    "a head of other bytes": b"--B\r\n\xff\xfe: \x00\r\n\r\nabc\r\n--B--\r\n",
    "no boundary at all": b"x" * 1_000_000,
}


@pytest.mark.parametrize("body", BROKEN_FORMS.values(), ids=BROKEN_FORMS)
async def test_a_form_with_a_broken_head_is_the_clients_mistake(
    client: Client, static: Path, body: bytes
) -> None:
    """Status 400 with words, where the server said 500 and "got itself in trouble"."""
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    async with client.post("/internal/v4/droplets/d/upload", data=body, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.text()).startswith("the upload is not a form: ")
    assert list((static / ".incoming").iterdir()) == []


async def test_names_do_not_leave_their_directory(client: Client) -> None:
    form = FormData()
    form.add_field("file", b"x", filename="x")
    async with client.post("/internal/v4/packages/..%2f..%2fx/upload", data=form) as answer:
        assert answer.status == 404


async def test_a_place_that_cannot_be_written(client: Client, static: Path) -> None:
    static.mkdir()
    (static / "packages").write_text("in the way")
    form = FormData()
    form.add_field("file", b"x", filename="x")
    async with client.post("/internal/v4/packages/p1/upload", data=form) as answer:
        assert (answer.status, await answer.text()) == (507, "the upload cannot be kept: File exists\n")
    assert list((static / ".incoming").iterdir()) == []


async def test_a_job_nobody_began(client: Client) -> None:
    async with client.get("/internal/v4/staging_jobs/none") as answer:
        assert answer.status == 404


async def _begin_job(client: Client) -> dict[str, Any]:
    form = FormData()
    form.add_field("file", CONTENT, filename="x")
    async with client.post(
        "/internal/v4/droplets/d1/upload?async=true", data=form, headers=DIGESTS
    ) as answer:
        assert answer.status == 201
        begun: dict[str, Any] = await answer.json()
        return begun


async def _poll(client: Client, url: str) -> dict[str, Any]:
    async with client.get(url) as answer:
        assert answer.status == 200
        entity: dict[str, Any] = (await answer.json())["entity"]
        return entity


async def test_a_job_that_ended_is_known_after_a_restart(client: Client, static: Path) -> None:
    url = (await _begin_job(client))["metadata"]["url"]
    while (await _poll(client, url))["status"] != "finished":
        pass
    async with TestClient(TestServer(fileserver_app(static))) as later:
        assert (await _poll(later, url))["status"] == "finished"


@pytest.mark.parametrize("cut", [False, True])
async def test_a_job_that_a_crash_cut_short_has_failed_and_says_why(
    cut: bool, client: Client, static: Path
) -> None:
    begun = await _begin_job(client)
    url, guid = begun["metadata"]["url"], begun["metadata"]["guid"]
    while (await _poll(client, url))["status"] != "finished":
        pass
    kept = static / ".jobs" / guid
    kept.write_text("{" if cut else '{"status": "running", "error": ""}')  # as it is in the middle
    for _ in range(2):
        async with TestClient(TestServer(fileserver_app(static))) as later:
            told = await _poll(later, url)
        assert told["status"] == "failed"
        assert told["error_details"]["description"] == (
            "the file server was restarted before the upload was in its place; upload it again"
        )


async def test_the_uploader_hears_of_a_job_that_nobody_knows_any_more(
    client: Client, cloud_controller: tuple[CloudController, str]
) -> None:
    cloud, url = cloud_controller
    cloud.answers = [job("running"), lambda: web.Response(status=404, text="there is no such job")]
    async with client.post(via(url), data=b"x") as answer:
        assert (answer.status, await answer.text()) == (404, "status code: 404\nthere is no such job\n")


def test_a_job_goes_on_where_nothing_can_be_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = UploadJobs(tmp_path / "jobs")
    job_id = jobs.begin()
    (tmp_path / "jobs" / job_id).unlink()
    (tmp_path / "jobs").rmdir()
    (tmp_path / "jobs").write_text("in the way")
    jobs.set(job_id, Job("finished"))
    assert jobs.get(job_id) == Job("finished")
    assert [record.message for record in caplog.records] == ["upload-job.not-recorded"]
    with pytest.raises(FileExistsError):
        jobs.begin()


def test_only_so_many_jobs_are_kept(tmp_path: Path) -> None:
    jobs = UploadJobs(tmp_path / "jobs")
    ids = [jobs.begin() for _ in range(JOBS_KEPT + 5)]
    assert [jobs.get(each) for each in ids[:5]] == [None] * 5
    assert len(list((tmp_path / "jobs").iterdir())) == JOBS_KEPT


# -- towards a Cloud Controller that answers as it likes ------------------------------------------------


class CloudController:
    """Answers one after the other; remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], web.Response]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.forms: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        user = request.headers.get("Authorization", "")
        self.requests.append((request.method, str(request.rel_url), user))
        if request.method == "POST":
            size = request.content_length
            part = await (await request.multipart()).next()
            assert isinstance(part, BodyPartReader)
            content = await part.read()
            self.forms.append(
                {
                    "size": size,
                    "disposition": part.headers["Content-Disposition"],
                    "content": bytes(content),
                    "headers": dict(request.headers),
                }
            )
        return self.answers.pop(0)()


def job(status: str, url: str = "/v2/jobs/7") -> Callable[[], web.Response]:
    return lambda: web.json_response({"metadata": {"url": url}, "entity": {"status": status}})


@pytest.fixture
async def cloud_controller() -> AsyncIterator[tuple[CloudController, str]]:
    cloud = CloudController()
    async with TestServer(answering(cloud.answer)) as server:
        yield cloud, f"http://u:p@{server.host}:{server.port}/upload"


def via(url: str, **query: str) -> str:
    more = "".join(f"&{key}={value}" for key, value in query.items())
    return f"/v1/droplet/s1?cc-droplet-upload-uri={quote(url, safe='')}{more}"


async def test_what_a_cloud_controller_is_sent(
    client: Client, cloud_controller: tuple[CloudController, str]
) -> None:
    cloud, url = cloud_controller
    cloud.answers = [job("queued"), job("running"), job("finished")]
    async with client.post(via(url), data=CONTENT, headers=DIGESTS) as answer:
        assert answer.status == 201
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    assert cloud.requests == [
        ("POST", "/upload?async=true", basic),
        ("GET", "/v2/jobs/7", basic),
        ("GET", "/v2/jobs/7", basic),
    ]
    (form,) = cloud.forms
    assert form["disposition"] == 'form-data; name="file"; filename="droplet.tgz"'
    assert form["content"] == CONTENT
    assert form["size"] > len(CONTENT)
    assert {name: form["headers"][name] for name in DIGESTS} == DIGESTS


@pytest.mark.parametrize(
    ("answers", "status", "text"),
    [
        ([job("queued"), job("failed")], 500, "upload job failed\n"),
        ([job("lost")], 500, "unknown job status: lost\n"),
        ([lambda: web.Response(status=503, text="full")], 503, "status code: 503\nfull\n"),
        ([lambda: web.Response(text="{}")], 500, "no upload job"),
    ],
)
async def test_what_a_cloud_controller_may_answer(
    client: Client,
    cloud_controller: tuple[CloudController, str],
    answers: list[Callable[[], web.Response]],
    status: int,
    text: str,
) -> None:
    cloud, url = cloud_controller
    cloud.answers = answers
    async with client.post(via(url), data=b"x") as answer:
        assert answer.status == status
        assert text in await answer.text()


async def test_a_cloud_controller_that_is_not_there(client: Client) -> None:
    async with client.post(via("http://u:secret@127.0.0.1:1/upload"), data=b"x") as answer:
        text = await answer.text()
        assert answer.status == 500
        assert "127.0.0.1:1" in text
        assert "secret" not in text


async def test_a_job_that_takes_longer_than_the_timeout(
    client: Client, cloud_controller: tuple[CloudController, str]
) -> None:
    cloud, url = cloud_controller
    cloud.answers = [job("running")] * 100_000
    async with client.post(via(url, timeout="1"), data=b"x") as answer:
        assert answer.status == 500
        assert "1 seconds" in await answer.text()
