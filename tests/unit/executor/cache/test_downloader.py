"""The cached downloader against a web server."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
import stat
import threading
import tracemalloc
import zlib

import aiohttp
import pytest
from aiohttp import web

import executor.cache.downloader as downloader_module
import executor.cache.http as http_module
from executor.cache.api import ArchiveError, Checksum, ChecksumError, DownloadError
from executor.cache.http import back_off
from executor.cache.store import delete
from tests.support.archives import tar_of
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.unit


class TestFiles:
    async def test_first_fetch_downloads_and_the_second_finds_it_not_modified(self, cache, site):
        body = tar_of(("a", b"1"))
        site.serve(body)
        first = await cache.fetch_file(site.url, "key")
        second = await cache.fetch_file(site.url, "key")
        assert (first.size, second.size) == (len(body), 0)
        assert first.path == second.path
        assert first.path.read_bytes() == body
        origin = site.url.removesuffix("/asset").encode()
        assert first.path.name.startswith(hashlib.md5(origin + b"\0key").hexdigest() + "-")
        assert "If-None-Match" not in site.requests[0]
        assert site.requests[1]["If-None-Match"] == '"1"'
        assert site.requests[0]["Accept-Encoding"] == "gzip"

    async def test_last_modified_is_a_validator_too(self, cache, site):
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        site.answer(tar_of(("a", b"1")), Last_Modified=date)
        site.answer(status=304)
        await cache.fetch_file(site.url, "key")
        assert (await cache.fetch_file(site.url, "key")).size == 0
        assert site.requests[1]["If-Modified-Since"] == date

    async def test_the_url_is_not_part_of_the_key(self, cache, site):
        site.serve(tar_of(("a", b"1")))
        await cache.fetch_file(site.url, "key")
        assert (await cache.fetch_file(site.url + "/other", "key")).size == 0

    async def test_a_new_version_replaces_the_old_which_lives_on_while_in_use(self, cache, site, kept, names):
        site.serve(tar_of(("old", b"1")), '"1"')
        site.serve(tar_of(("new", b"1")), '"2"')
        old = await cache.fetch_file(site.url, "key")
        new = await cache.fetch_file(site.url, "key")
        assert (names(old.path), names(new.path)) == (["old"], ["new"])
        assert cache.footprint == new.path.stat().st_size
        assert len(kept()) == 2
        old.release()
        old.release()
        assert not old.path.exists()
        assert new.path.exists()

    async def test_without_validators_a_file_is_handed_out_and_gone_when_released(
        self, cache, site, kept, names
    ):
        site.serve(tar_of(("a", b"1")))
        site.answer(tar_of(("b", b"1")))
        (await cache.fetch_file(site.url, "key")).release()
        fetched = await cache.fetch_file(site.url, "key")
        assert (names(fetched.path), kept(), cache.footprint) == (["b"], [], 0)
        fetched.release()
        assert not fetched.path.exists()

    async def test_an_empty_key_is_not_cached(self, cache, site, kept):
        site.serve(tar_of(("a", b"1")))
        for _ in range(2):
            fetched = await cache.fetch_file(site.url, "")
            assert fetched.size > 0
            fetched.release()
            assert not fetched.path.exists()
        assert kept() == []

    async def test_what_was_used_is_deleted_in_a_thread_and_soon(self, cache, site, monkeypatch):
        """The deletion of gigabytes does not hold up the event loop, and does not wait for another fetch."""
        deleted = asyncio.Event()
        threads, loop = [], asyncio.get_running_loop()

        def watched(paths):
            if paths:
                threads.append(threading.get_ident())
                delete(paths)
                loop.call_soon_threadsafe(deleted.set)

        site.serve(tar_of(("a", b"1")))
        fetched = await cache.fetch_file(site.url, "")
        monkeypatch.setattr(downloader_module, "delete", watched)
        fetched.release()
        async with asyncio.timeout(PATIENCE_S):
            await deleted.wait()
        assert threading.get_ident() not in threads

    async def test_one_fetch_per_key_at_a_time(self, cache, site):
        body = tar_of(("a", b"1"))
        at_once = most = 0

        async def reply(request):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            if "If-None-Match" in request.headers:
                return web.Response(status=304)
            return web.Response(body=body, headers={"ETag": '"1"'})

        site.replies.append(reply)
        urls = [site.url + f"?{number}" for number in range(5)]
        fetched = await asyncio.gather(*(cache.fetch_file(url, "key") for url in urls))
        assert most == 1
        assert len(site.requests) == 5
        assert sorted(one.size for one in fetched) == [0, 0, 0, 0, len(body)]

    async def test_fetches_of_all_keys_have_a_limit(self, open_cache, site, monkeypatch):
        monkeypatch.setattr(http_module, "MAX_FETCHES", 2)
        at_once = most = 0
        body = tar_of(("a", b"1"))

        async def reply(request):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            return web.Response(body=body)

        site.replies.append(reply)
        async with open_cache() as cache:
            await asyncio.gather(*(cache.fetch_file(site.url, f"{number}") for number in range(7)))
        assert (most, len(site.requests)) == (2, 7)

    async def test_those_who_waited_for_the_same_share_one_answer(self, cache, site):
        body = tar_of(("a", b"1"))
        site.answer(body, ETag='"1"')
        fetched = await asyncio.gather(*(cache.fetch_file(site.url, "key") for _ in range(5)))
        assert len(site.requests) == 1
        assert sorted(one.size for one in fetched) == [0, 0, 0, 0, len(body)]
        assert len({one.path for one in fetched}) == 1

    async def test_who_comes_after_the_answer_asks_again(self, cache, site):
        site.answer(tar_of(("a", b"1")), ETag='"1"')
        await cache.fetch_file(site.url, "key")
        site.answer(status=304)
        assert (await cache.fetch_file(site.url, "key")).size == 0
        assert len(site.requests) == 2

    async def test_waiting_for_a_key_can_be_cancelled(self, cache, site, caplog):
        body = tar_of(("a", b"1"))
        asked, let_go = asyncio.Event(), asyncio.Event()

        async def reply(request):
            asked.set()
            await let_go.wait()
            return web.Response(body=body, headers={"ETag": '"1"'})

        site.replies.append(reply)
        first = asyncio.create_task(cache.fetch_file(site.url, "key"))
        await asked.wait()
        second = asyncio.create_task(cache.fetch_file(site.url, "key"))
        await asyncio.sleep(0)
        caplog.set_level("INFO")
        second.cancel()
        await asyncio.wait({second})
        assert second.cancelled()
        assert caplog.records[-1].data["stage"] == "download-barrier"
        let_go.set()
        assert (await first).size == len(body)
        assert len(site.requests) == 1


class TestFaults:
    async def test_every_status_but_200_and_304_is_tried_four_times(self, cache, site, pauses):
        site.answer(status=404)
        with pytest.raises(DownloadError, match=r"Download failed: Status code 404 \(http://.*/asset\)"):
            await cache.fetch_file(site.url + "?secret=1", "key")
        assert len(site.requests) == 4
        assert pauses == [0, 1, 2, 3]

    async def test_a_304_nobody_asked_for_is_a_failure(self, cache, site):
        site.answer(status=304)
        with pytest.raises(DownloadError, match="Status code 304"):
            await cache.fetch_file(site.url, "key")

    async def test_recovers_at_the_last_attempt(self, cache, site, names):
        for _ in range(3):
            site.answer(status=500)
        site.serve(tar_of(("a", b"1")))
        assert names((await cache.fetch_file(site.url, "key")).path) == ["a"]

    async def test_a_truncated_body_is_tried_again(self, cache, site):
        body = tar_of(("a", b"1" * 100_000))

        async def cut(request):
            response = web.StreamResponse(headers={"Content-Length": str(len(body)), "ETag": '"1"'})
            await response.prepare(request)
            await response.write(body[:5000])
            request.transport.close()
            return response

        site.replies.append(cut)
        site.serve(body)
        fetched = await cache.fetch_file(site.url, "key")
        assert fetched.path.read_bytes() == body
        assert len(site.requests) == 2

    async def test_a_silent_server_is_given_up(self, open_cache, site):
        async def stall(request):
            response = web.StreamResponse(headers={"ETag": '"1"'})
            await response.prepare(request)
            await response.write(b"x")
            await asyncio.sleep(5)
            return response

        site.replies.append(stall)
        async with open_cache(timeout=aiohttp.ClientTimeout(total=10, sock_read=0.05)) as cache:
            with pytest.raises(DownloadError, match="Download failed: "):
                await cache.fetch_file(site.url, "key")
        assert len(site.requests) == 4

    async def test_nobody_listens(self, cache, unused_tcp_port):
        refused = r"Download failed: dial tcp 127\.0\.0\.1:\d+: connect: connection refused "
        with pytest.raises(DownloadError, match=refused):
            await cache.fetch_file(f"http://127.0.0.1:{unused_tcp_port}/x", "key")

    @pytest.mark.parametrize("url", ["", "nonsense", "http://h/%zz", "http://h:port/", "ftp://h/x", ":x"])
    async def test_addresses_that_are_none(self, cache, url):
        with pytest.raises(DownloadError):
            await cache.fetch_file(url, "key")

    async def test_a_failure_keeps_the_old_entry_but_does_not_fall_back_to_it(self, cache, site):
        site.serve(tar_of(("a", b"1")))
        for _ in range(4):
            site.answer(status=500)
        site.serve(b"")
        (await cache.fetch_file(site.url, "key")).release()
        with pytest.raises(DownloadError):
            await cache.fetch_file(site.url, "key")
        assert (await cache.fetch_file(site.url, "key")).size == 0

    async def test_redirects_are_followed(self, cache, site, names):
        site.answer(status=302, Location="/elsewhere")
        site.serve(tar_of(("a", b"1")))
        assert names((await cache.fetch_file(site.url, "key")).path) == ["a"]

    async def test_redirects_without_an_end(self, cache, site):
        site.answer(status=302, Location="/again")
        with pytest.raises(DownloadError, match="Download failed: "):
            await cache.fetch_file(site.url, "key")
        assert len(site.requests) == 4 * 10

    async def test_a_name_and_a_password_in_the_address(self, cache, site, caplog):
        caplog.set_level("INFO")
        site.answer(status=500)
        site.serve(tar_of(("a", b"1")))
        url = site.url.replace("://", "://user:secret@")
        await cache.fetch_file(url, "key")
        assert site.requests[1]["Authorization"] == "Basic dXNlcjpzZWNyZXQ="
        assert caplog.records
        assert "secret" not in str([record.__dict__ for record in caplog.records])

    async def test_a_changed_version_with_the_wrong_bytes_keeps_the_old_entry(self, cache, site, names):
        site.serve(tar_of(("old", b"1")), '"1"')
        site.answer(tar_of(("new", b"1")), ETag='"2"')
        site.answer(status=304)
        (await cache.fetch_file(site.url, "key")).release()
        with pytest.raises(ChecksumError):
            await cache.fetch_file(site.url, "key", Checksum(algorithm="md5", value="0" * 32))
        assert names((await cache.fetch_file(site.url, "key")).path) == ["old"]
        assert site.requests[2]["If-None-Match"] == '"1"'

    async def test_a_slow_server_that_says_something_is_waited_for(self, open_cache, site):
        body = tar_of(("a", b"1"))

        async def drip(request):
            response = web.StreamResponse(headers={"ETag": '"1"'})
            await response.prepare(request)
            for at in range(0, len(body), 2048):
                await asyncio.sleep(0.05)
                await response.write(body[at : at + 2048])
            return response

        site.replies.append(drip)
        async with open_cache(timeout=aiohttp.ClientTimeout(total=10, sock_read=0.2)) as cache:
            assert (await cache.fetch_file(site.url, "key")).size == len(body)
        assert len(site.requests) == 1

    async def test_a_gzipped_transfer_is_decoded_before_it_is_measured(self, cache, site):
        body = tar_of(("a", b"1"))
        site.answer(gzip.compress(body), Content_Encoding="gzip", ETag='"1"')
        checksum = Checksum(algorithm="md5", value=hashlib.md5(body).hexdigest())
        assert (await cache.fetch_file(site.url, "key", checksum)).size == len(body)

    async def test_nothing_is_left_behind(self, cache, site, tmp_path, kept):
        site.answer(b"no archive", ETag='"1"')
        with pytest.raises(ArchiveError, match="unknown archive format"):
            await cache.fetch_file(site.url, "key")
        assert kept() == []
        assert list((tmp_path / "cache" / "temp").iterdir()) == []
        assert cache.footprint == 0

    def test_back_off(self):
        for failures, least in enumerate([0.5, 1, 2, 4, 5, 5]):
            assert least <= back_off(failures) <= least + 0.198

    async def test_cancelled_while_it_unpacks_it_waits_for_the_thread(self, cache, site, monkeypatch):
        entered, let_go = threading.Event(), threading.Event()

        def slow(source, target, budget):
            entered.set()
            let_go.wait(10)
            target.write_bytes(b"")

        monkeypatch.setattr(downloader_module, "to_tar", slow)
        site.serve(tar_of(("a", b"1")))
        fetching = asyncio.create_task(cache.fetch_file(site.url, "key"))
        await asyncio.to_thread(entered.wait, 10)
        fetching.cancel()
        _, pending = await asyncio.wait({fetching}, timeout=0.05)
        assert pending
        let_go.set()
        await asyncio.wait({fetching})
        assert fetching.cancelled()

    async def test_a_fetch_that_ends_leaves_alone_what_another_one_unpacks(self, cache, site, monkeypatch):
        entered, let_go = threading.Event(), threading.Event()
        extract = downloader_module.extract

        def slow_at_first(source, target, budget):
            extract(source, target, budget)
            if not entered.is_set():
                entered.set()
                let_go.wait(10)

        monkeypatch.setattr(downloader_module, "extract", slow_at_first)
        site.serve(tar_of(("bin/app", b"1")))
        slow = asyncio.create_task(cache.fetch_directory(site.url, "slow"))
        await asyncio.to_thread(entered.wait, 10)
        quick = await cache.fetch_directory(site.url, "quick")
        let_go.set()
        for fetched in (quick, await slow):
            assert (fetched.path / "bin/app").read_bytes() == b"1"

    async def test_an_index_that_cannot_be_written_fails_no_fetch(self, cache, site, monkeypatch, caplog):
        def full(path, index):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(downloader_module, "write_index", full)
        site.serve(tar_of(("a", b"1")))
        assert (await cache.fetch_file(site.url, "key")).path.exists()
        assert caplog.records[-1].message == "cached-downloader.failed-to-save-index"

    @pytest.mark.parametrize("key", ["key", ""])
    async def test_a_deleted_cache_directory_is_made_again(self, cache, site, tmp_path, key):
        """Tasks failed from then on."""
        site.serve(tar_of(("a", b"1")))
        for fetch in (cache.fetch_file, cache.fetch_directory) if key else (cache.fetch_file,):
            fetched = await fetch(site.url, key)
            shutil.rmtree(tmp_path / "cache")
            fetched.release()
            again = await fetch(site.url, key)
            assert again.path.exists()
            again.release()
        assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o750

    @pytest.mark.parametrize("key", ["key", ""])
    async def test_a_fetch_cancelled_while_it_tidies_up_holds_nothing(
        self, open_cache, site, tmp_path, monkeypatch, key
    ):
        """It stayed pinned, and was never evicted."""
        site.serve(tar_of(("a", b"1")))
        begun, go_on = threading.Event(), threading.Event()

        def slow(paths):
            begun.set()
            go_on.wait(10)
            delete(paths)

        async with open_cache(max_bytes=1) as cache:
            monkeypatch.setattr(downloader_module, "delete", slow)
            fetching = asyncio.create_task(cache.fetch_file(site.url, key))
            await asyncio.to_thread(begun.wait, 10)
            for _ in range(2):
                fetching.cancel()
                await asyncio.sleep(0)
            go_on.set()
            await asyncio.wait({fetching})
            assert fetching.cancelled()
            other = await cache.fetch_file(site.url, "other")
            other.release()
        kept = [path for path in (tmp_path / "cache").rglob("*") if path.name != "saved_cache.json"]
        assert [path for path in kept if path.is_file()] in ([], [other.path])

    async def test_another_server_cannot_replace_what_a_key_names(self, cache, site, names):
        """The same key and ETag from another address replaced a buildpack or the lifecycle for all."""
        site.serve(tar_of(("right", b"1")))
        (await cache.fetch_file(site.url, "key")).release()
        site.replies.clear()
        site.serve(tar_of(("wrong", b"1")))
        site.requests.clear()
        elsewhere = site.url.replace("127.0.0.1", "localhost")
        assert names((await cache.fetch_file(elsewhere, "key")).path) == ["wrong"]
        assert names((await cache.fetch_file(site.url, "key")).path) == ["right"]

    async def test_a_full_disk_says_so(self, cache, site, monkeypatch):
        def full(chunk, file, verify):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(http_module, "_take", full)
        site.serve(tar_of(("a", b"1")))
        with pytest.raises(DownloadError, match="Download failed: no space left on device"):
            await cache.fetch_file(site.url, "key")
        assert len(site.requests) == 1

    async def test_memory_stays_flat(self, cache, site):
        size = 48 << 20

        async def big(request):
            response = web.StreamResponse(headers={"ETag": '"1"'})
            await response.prepare(request)
            packer = zlib.compressobj(1, wbits=31)
            for _ in range(size >> 20):
                await response.write(packer.compress(bytes(1 << 20)))
            await response.write(packer.flush())
            return response

        site.replies.append(big)
        tracemalloc.start()
        try:
            fetched = await cache.fetch_file(site.url, "key")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert fetched.path.stat().st_size == size
        assert peak < size / 4


class TestEviction:
    BODY_SIZE = 10240

    async def fetch(self, cache, site, key):
        return await cache.fetch_file(f"{site.url}/{key}", key)

    async def test_the_least_recently_used_goes_first(self, open_cache, site):
        site.serve(tar_of(("a", b"1")))
        async with open_cache(2 * self.BODY_SIZE) as cache:
            a, b = [await self.fetch(cache, site, key) for key in ("a", "b")]
            a.release()
            b.release()
            (await self.fetch(cache, site, "a")).release()
            await self.fetch(cache, site, "c")
            assert a.path.exists()
            assert not b.path.exists()
            assert cache.footprint == 2 * self.BODY_SIZE

    async def test_what_is_in_use_stays_even_over_the_limit(self, open_cache, site):
        site.serve(tar_of(("a", b"1")))
        async with open_cache(self.BODY_SIZE) as cache:
            held = [await self.fetch(cache, site, key) for key in ("a", "b")]
            assert cache.footprint == 2 * self.BODY_SIZE
            for fetched in held:
                fetched.release()
            await self.fetch(cache, site, "c")
            assert cache.footprint == self.BODY_SIZE

    async def test_an_object_bigger_than_the_limit_is_stored(self, open_cache, site):
        site.serve(tar_of(("a", b"1")))
        async with open_cache(1) as cache:
            assert (await self.fetch(cache, site, "a")).path.exists()


class TestRestart:
    async def test_entries_survive_and_strangers_do_not(self, open_cache, site, tmp_path, kept):
        site.serve(tar_of(("a", b"1")))
        async with open_cache() as cache:
            await cache.fetch_file(site.url, "file")
            await cache.fetch_directory(site.url, "directory")
        (tmp_path / "cache/temp/leftover").write_text("x")
        (tmp_path / "cache/stranger").mkdir()
        async with open_cache() as cache:
            await cache.sweep()
            assert (await cache.fetch_file(site.url, "file")).size == 0
            assert (await cache.fetch_directory(site.url, "directory")).size == 0
            assert len(kept()) == 2
            assert list((tmp_path / "cache/temp").iterdir()) == []
            assert not (tmp_path / "cache/stranger").exists()

    async def test_an_unclean_end_loses_nothing(self, open_cache, site):
        site.serve(tar_of(("a", b"1")))
        await (await open_cache().__aenter__()).fetch_file(site.url, "key")
        async with open_cache() as cache:
            assert (await cache.fetch_file(site.url, "key")).size == 0

    @pytest.mark.parametrize("index", [b"", b"{", b"[]", b'{"entries": {"k": {}}}', b'{"entries": {"k": 1}}'])
    async def test_an_undecodable_index_is_an_empty_one(self, open_cache, site, tmp_path, index, kept):
        site.serve(tar_of(("a", b"1")))
        async with open_cache() as cache:
            await cache.fetch_file(site.url, "key")
        (tmp_path / "cache/saved_cache.json").write_bytes(index)
        async with open_cache() as cache:
            await cache.sweep()
            assert kept() == []
            assert (await cache.fetch_file(site.url, "key")).size > 0

    async def test_a_hostile_index_reaches_nothing_outside(self, open_cache, tmp_path):
        (tmp_path / "precious").write_text("x")
        (tmp_path / "cache").mkdir()
        entry = {"base": "../precious", "size": 1, "etag": "", "last_modified": "", "last_access": 0}
        (tmp_path / "cache/saved_cache.json").write_text(json.dumps({"entries": {"k": entry}}))
        async with open_cache(0) as cache:
            assert cache.footprint == 0
        assert (tmp_path / "precious").exists()

    async def test_a_smaller_limit_is_met_at_once(self, open_cache, site, kept):
        site.serve(tar_of(("a", b"1")))
        async with open_cache() as cache:
            await cache.fetch_file(site.url, "key")
        async with open_cache(0) as cache:
            await cache.sweep()
            assert (cache.footprint, kept()) == (0, [])

    async def test_what_is_mounted_in_an_adopted_container_stays_until_its_release(
        self, open_cache, site, kept
    ):
        site.serve(tar_of(("a", b"1")))
        async with open_cache() as cache:
            current = (await cache.fetch_directory(site.url, "key")).path
            replaced = current.with_name("0123-1-1.d")
            replaced.mkdir()
        site.replies.clear()
        site.serve(tar_of(("a", b"2")), etag='"2"')
        async with open_cache() as cache:
            releases = [cache.hold(path) for path in (replaced, replaced, current)]
            assert cache.hold(current.with_name("elsewhere")) is None
            await cache.sweep()
            assert replaced.exists()
            (await cache.fetch_directory(site.url, "key")).release()  # replaces the current one
            assert current.exists()
            for release in releases:
                assert current.exists()
                release()
        assert not replaced.exists()
        assert not current.exists()

    async def test_modes(self, open_cache, site, tmp_path):
        async with open_cache():
            assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o750
        assert (tmp_path / "cache/saved_cache.json").stat().st_mode & 0o777 == 0o600
