"""Download and upload."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import stat
import tarfile
from dataclasses import replace

import pytest

import executor.steps.upload as upload_module
from bbs.models.actions import DownloadAction, UploadAction
from executor.cache.api import Checksum, DownloadError, UploadError
from executor.cache.downloader import Downloader
from executor.cache.http import Answer, Validators
from executor.errors import (
    ContainerGone,
    EngineError,
    EngineUnavailable,
    FileTooLarge,
    NoSuchFile,
    ProcessStartError,
)
from executor.places import FairPlaces
from executor.steps.base import outlast
from executor.steps.context import StepSlots

pytestmark = pytest.mark.unit

DOWNLOAD = DownloadAction(
    artifact="droplet", from_="http://h/d", to="app", cache_key="k", user="vcap", log_source="DL",
    checksum_algorithm="sha1", checksum_value="abc",
)  # fmt: skip
UPLOAD = UploadAction(artifact="droplet", from_="/tmp/d", to="http://h/up", user="vcap", log_source="UP")


class TestDownload:
    async def test_streams_the_tar_in_as_the_user_and_says_how_much_it_was(self, world, start):
        world.fetcher.size = 1536
        step = world.step(DOWNLOAD)
        world.fetcher.takes = 1
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 0
        assert await running.end() is None
        assert world.fetcher.asked == [("http://h/d", "k", Checksum(algorithm="sha1", value="abc"))]
        assert world.engine.streamed_in == [("app", "vcap", "/cache/x.tar")]
        assert world.fetcher.released == 1
        assert world.log.shown == [
            ("OUT", "DL", "Downloading droplet..."),
            ("OUT", "DL", "Downloaded droplet (1.5K)"),
        ]

    async def test_a_cache_hit_has_no_size(self, world, start):
        await start(world.step(DOWNLOAD)).end()
        assert world.log.texts[-1] == "Downloaded droplet"

    async def test_without_artifact_nothing_is_said(self, world, start):
        await start(world.step(replace(DOWNLOAD, artifact=""))).end()
        assert world.log.texts == []

    @pytest.mark.parametrize(
        ("artifact", "text"), [("droplet", "Downloading droplet failed"), ("", "Downloading failed")]
    )
    async def test_fetch_failure(self, world, start, artifact, text):
        world.fetcher.error = DownloadError("Download failed: Status code 404")
        running = start(world.step(replace(DOWNLOAD, artifact=artifact)))
        assert await running.end() == text
        assert running.task.exception().emittable
        assert world.log.shown[-1] == ("ERR", "DL", text)

    async def test_a_damaged_archive_is_a_fetch_failure(self, world, start, tmp_path):
        """A damaged tar became part of the app, with success."""
        damaged = bytearray(5120)
        damaged[:1024] = tarfile.TarInfo("a").tobuf() + tarfile.TarInfo("b").tobuf()
        damaged[512 + 10] ^= 1

        class Source:
            async def get(self, url, known, checksum, target, progress=None):
                target.write_bytes(gzip.compress(damaged))
                return Answer(size=1, validators=Validators(etag="1"))

        async with Downloader(Source(), tmp_path / "cache", 1 << 20) as cache:
            assert await start(world.step(DOWNLOAD, fetcher=cache)).end() == "Downloading droplet failed"
        assert world.engine.streamed_in == []

    @pytest.mark.parametrize(
        ("artifact", "text"),
        [
            ("droplet", "Copying droplet into the container failed: disk full"),
            ("", "Copying into the container failed: disk full"),
        ],
    )
    async def test_copy_failure(self, world, start, artifact, text):
        world.engine.stream_in_error = "disk full"
        running = start(world.step(replace(DOWNLOAD, artifact=artifact)))
        assert await running.end() == text
        assert running.task.exception().emittable
        assert world.log.shown[-1] == ("ERR", "DL", text)
        assert world.fetcher.released == 1

    async def test_a_long_error_is_cut_in_the_log_only(self, world, start):
        world.engine.stream_in_error = "x" * 2000
        context = world.context()
        text = await start(world.step(DOWNLOAD, logs=context.logs)).end()
        assert len(text) > 2000
        assert world.log.texts == ["Downloading droplet..."]
        context.logs.flush()
        assert len(world.log.texts[-1]) == 1024
        assert world.log.texts[-1].endswith("xxx (error truncated)")

    async def test_waits_for_a_slot_before_it_says_anything(self, world, start):
        slots = StepSlots(downloads=FairPlaces(1))
        world.fetcher.takes = 2
        first = start(world.step(DOWNLOAD, slots=slots))
        second = start(world.step(DOWNLOAD, slots=slots))
        await asyncio.sleep(1)
        assert world.log.texts == ["Downloading droplet..."]
        await first.end()
        await second.end()
        assert second.elapsed == 4

    async def test_a_copy_the_engine_does_not_give_up_is_left_over(self, world, start):
        slots, context = StepSlots(downloads=FairPlaces(1)), world.context()

        async def stubborn(container, path, user, tar_path):
            copying = asyncio.create_task(asyncio.sleep(60))
            await outlast(copying)

        world.engine.stream_in = stubborn
        running = start(world.step(DOWNLOAD, slots=slots, lingering=context.lingering))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert running.elapsed == 1
        assert not slots.downloads.locked()
        assert world.fetcher.released == 0
        await context.lingering.settle()
        assert running.elapsed == 60
        assert world.fetcher.released == 1

    async def test_an_interrupt_cancels_at_once_at_every_stage(self, world, start):
        slots = StepSlots(downloads=FairPlaces(1))
        world.fetcher.takes = 2
        world.engine.stream_in_takes = 2
        copying = start(world.step(DOWNLOAD, slots=slots))
        await asyncio.sleep(3)
        waiting = start(world.step(DOWNLOAD, slots=slots))
        await asyncio.sleep(0.5)
        for running, elapsed in ((waiting, 0.5), (copying, 3.5)):
            running.interrupt()
            assert await running.end() == "cancelled"
            assert running.elapsed == elapsed
        assert world.fetcher.released == 1
        assert world.log.texts == ["Downloading droplet..."]


class TestUpload:
    async def test_posts_the_file(self, world, start):
        content = b"payload" * 300
        world.engine.file = content
        step = world.step(UPLOAD)
        world.uploader.takes = 1
        running = start(step)
        await step.ready.wait()
        assert running.elapsed == 0
        assert await running.end() is None
        assert world.uploader.posted == [("http://h/up", content)]
        assert world.log.shown == [
            ("OUT", "UP", "Uploading droplet..."),
            ("OUT", "UP", "Uploaded droplet (2.1K)"),
        ]
        assert list(world.work_dir.iterdir()) == []

    async def test_the_file_is_read_as_the_user_and_no_bigger_than_the_disk(self, world, start):
        context = world.context()
        limited = replace(context.engine_container, disk_bytes=64 << 20)
        await start(world.step(replace(UPLOAD, from_="out/d"), engine_container=limited)).end()
        assert world.engine.copied_out == [("out/d", "vcap", 64 << 20)]

    async def test_without_a_disk_limit_the_file_has_to_fit_here(self, world, start):
        await start(world.step(replace(UPLOAD, user=""))).end()
        [(_, user, limit)] = world.engine.copied_out
        assert user == "root"
        assert 0 < limit <= shutil.disk_usage(world.work_dir).total

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (ContainerGone(), "Failed to establish stream from container"),
            (EngineUnavailable(), "Failed to establish stream from container"),
            (ProcessStartError("unable to find user x"), "Failed to establish stream from container"),
            (NoSuchFile(), "Failed to find first item in tar stream"),
            (FileTooLarge(), "Failed to copy stream contents into temp file"),
            (EngineError("permission denied"), "Failed to copy stream contents into temp file"),
            (OSError(28, "No space left on device"), "Failed to copy stream contents into temp file"),
        ],
    )
    @pytest.mark.parametrize("artifact", ["droplet", ""])
    async def test_failures_before_the_post(self, world, start, error, text, artifact):
        world.engine.copy_out_error = error
        running = start(world.step(replace(UPLOAD, artifact=artifact)))
        text += " for droplet" if artifact else ""
        assert await running.end() == text
        assert running.task.exception().emittable
        assert world.log.shown[1:] == ([("ERR", "UP", text)] if artifact else [])

    async def test_the_work_folder_is_made_again_when_it_was_deleted(self, world, start):
        world.work_dir /= "deleted"
        world.engine.file = b"x"
        assert await start(world.step(UPLOAD)).end() is None
        assert world.uploader.posted == [("http://h/up", b"x")]
        assert stat.S_IMODE(world.work_dir.stat().st_mode) == 0o700

    async def test_no_place_for_the_copy(self, world, start):
        (world.work_dir / "file").touch()
        world.work_dir /= "file"
        assert await start(world.step(UPLOAD)).end() == "Failed to create temp dir for droplet"

    async def test_no_file_for_the_copy(self, world, start, monkeypatch):
        def vanished(folder, name):
            return folder_of(folder) / "missing" / name

        folder_of = upload_module.Path
        monkeypatch.setattr(upload_module, "Path", vanished)
        world.engine.file = b"x"
        assert await start(world.step(UPLOAD)).end() == "Failed to create temp file for droplet"

    async def test_an_address_that_is_none(self, world, start):
        running = start(world.step(replace(UPLOAD, to="http://h/%zz")))
        assert await running.end() == 'parse "http://h/%zz": invalid URL escape "%zz"'
        assert world.log.shown[-1] == ("ERR", "UP", "Failed to parse URL for droplet")
        assert world.uploader.posted == []

    async def test_a_failed_post_shows_its_own_error(self, world, start):
        world.engine.file = b"x"
        world.uploader.error = UploadError("Upload failed: Status code 500")
        running = start(world.step(UPLOAD))
        assert await running.end() == "Upload failed: Status code 500"
        assert not running.task.exception().emittable
        assert world.log.shown[-1] == ("ERR", "UP", "Failed to upload payload for droplet")

    async def test_an_interrupt_has_no_effect_until_the_post_begins(self, world, start):
        world.engine.file = b"x"
        world.engine.copy_out_takes = 5
        slots = StepSlots(uploads=FairPlaces(1))
        running = start(world.step(UPLOAD, slots=slots))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert running.elapsed == 5
        assert world.uploader.posted == []
        assert not slots.uploads.locked()
        assert list(world.work_dir.iterdir()) == []

    async def test_an_interrupt_during_the_post_cancels_at_once(self, world, start):
        world.engine.file = b"x"
        world.uploader.takes = 60
        running = start(world.step(UPLOAD))
        await asyncio.sleep(1)
        running.interrupt()
        assert await running.end() == "cancelled"
        assert running.elapsed == 1
