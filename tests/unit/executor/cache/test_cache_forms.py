"""Verification, conversion and unpacking of downloads."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile

import pytest

from executor.cache.api import NO_CHECKSUM, ArchiveError, Checksum, ChecksumError, DownloadError
from tests.support.archives import tar_of

pytestmark = pytest.mark.unit


class TestChecksums:
    BODY = gzip.compress(bytes(1024))

    @pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
    @pytest.mark.parametrize("form", ["{}", '"{}"'])
    async def test_match(self, cache, site, algorithm, form):
        site.answer(self.BODY, ETag='"1"')
        value = form.format(hashlib.new(algorithm, self.BODY).hexdigest())
        assert (await cache.fetch_file(site.url, "key", Checksum(algorithm=algorithm, value=value))).size > 0

    @pytest.mark.parametrize(
        ("algorithm", "value", "problem"),
        [
            ("sha384", "aa", "'algorithm invalid', expected '[md5, sha1, sha256]', got 'sha384'"),
            ("", "aa", "'algorithm invalid', expected '[md5, sha1, sha256]', got ''"),
            ("md5", "", "'checksum missing or invalid', expected 'a valid checksum', got ''"),
            ("md5", "zz", "'checksum missing or invalid', expected 'a valid checksum', got 'zz'"),
            (
                "md5",
                "0" * 32,
                f"'checksum mismatch', expected '{'0' * 32}', got '\"{hashlib.md5(BODY).hexdigest()}\"'",
            ),
        ],
    )
    async def test_failures_are_not_tried_again(self, cache, site, algorithm, value, problem):
        site.answer(self.BODY, ETag='"1"')
        with pytest.raises(ChecksumError) as caught:
            await cache.fetch_file(site.url, "key", Checksum(algorithm=algorithm, value=value))
        assert str(caught.value) == f"Checksum failed: {problem}"
        assert len(site.requests) == 1

    async def test_a_kept_download_has_to_fit_too(self, cache, site):
        """A server's "not modified" skipped the checksum."""
        body = tar_of(("a", b"1"))
        site.serve(body)
        await cache.fetch_file(site.url, "key")
        with pytest.raises(ChecksumError, match="checksum mismatch"):
            await cache.fetch_file(site.url, "key", Checksum(algorithm="md5", value="0" * 32))
        right = Checksum(algorithm="sha256", value=hashlib.sha256(body).hexdigest())
        assert (await cache.fetch_file(site.url, "key", right)).size == 0

    async def test_a_digest_nobody_asked_for_before_is_found_by_another_download(self, cache, site):
        body = tar_of(("a", b"1"))
        site.serve(body)
        right = Checksum(algorithm="md5", value=hashlib.md5(body).hexdigest())
        for checksum, size in ((NO_CHECKSUM, len(body)), (right, len(body)), (right, 0)):
            assert (await cache.fetch_file(site.url, "key", checksum)).size == size

    async def test_digests_survive_the_cell(self, open_cache, site):
        body = tar_of(("a", b"1"))
        site.serve(body)
        right = Checksum(algorithm="sha256", value=hashlib.sha256(body).hexdigest())
        for size in (len(body), 0):
            async with open_cache() as cache:
                fetched = await cache.fetch_file(site.url, "key", right)
                assert fetched.size == size
                fetched.release()


class TestDirectories:
    async def test_unpacks_and_gives_up_the_tar_nobody_uses(self, cache, site, kept):
        site.serve(tar_of(("bin/app", b"1")))
        first = await cache.fetch_directory(site.url, "key")
        second = await cache.fetch_directory(site.url, "key")
        assert (first.path / "bin/app").read_bytes() == b"1"
        assert second.path == first.path
        assert (first.size > 0, second.size) == (True, 0)
        assert kept() == [first.path.name]
        assert first.path.name.endswith(".d")

    async def test_file_and_directory_side_by_side_count_twice(self, cache, site):
        body = tar_of(("a", b"1"))
        site.serve(body)
        file = await cache.fetch_file(site.url, "key")
        directory = await cache.fetch_directory(site.url, "key")
        assert file.path.exists()
        assert directory.path.exists()
        assert cache.footprint == 2 * len(body)

    async def test_a_file_out_of_a_directory(self, cache, site, names):
        site.serve(tar_of(("a", b"1"), ("sub/b", b"2")))
        directory = await cache.fetch_directory(site.url, "key")
        directory.release()
        file = await cache.fetch_file(site.url, "key")
        assert names(file.path) == ["a", "sub", "sub/b"]
        assert not directory.path.exists()

    async def test_a_key_and_validators_are_needed(self, cache, site):
        with pytest.raises(DownloadError, match=r"^Not cacheable directory: cache key is missing$"):
            await cache.fetch_directory(site.url, "")
        site.answer(tar_of(("a", b"1")))
        with pytest.raises(
            DownloadError,
            match=r"^Not cacheable directory: ETag and Last-Modified were missing from response$",
        ):
            await cache.fetch_directory(site.url, "key")

    async def test_a_replaced_directory_lives_on_while_in_use(self, cache, site):
        site.serve(tar_of(("old", b"1")), '"1"')
        site.serve(tar_of(("new", b"1")), '"2"')
        old = await cache.fetch_directory(site.url, "key")
        new = await cache.fetch_directory(site.url, "key")
        assert (old.path / "old").exists()
        old.release()
        assert not old.path.exists()
        assert (new.path / "new").exists()


class TestConversion:
    async def test_gzip(self, cache, site, names):
        body = tar_of(("a", b"1"), mode="w:gz")
        site.serve(body)
        fetched = await cache.fetch_file(site.url, "key")
        assert (names(fetched.path), fetched.size) == (["a"], len(body))
        assert cache.footprint == fetched.path.stat().st_size > len(body)

    async def test_zip_keeps_modes_and_links(self, cache, site):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.mkdir("bin")
            script = zipfile.ZipInfo("bin/run")
            script.external_attr = 0o100755 << 16
            archive.writestr(script, "#!/bin/sh")
            link = zipfile.ZipInfo("bin/link")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "run")
        site.serve(data.getvalue())
        directory = await cache.fetch_directory(site.url, "key")
        assert (directory.path / "bin/run").stat().st_mode & 0o777 == 0o755
        assert (directory.path / "bin/link").readlink().name == "run"

    async def test_a_plain_tar_in_gnu_format_is_not_recognised(self, cache, site):
        site.answer(tar_of(("a", b"1"), format=tarfile.GNU_FORMAT), ETag='"1"')
        with pytest.raises(ArchiveError, match="unknown archive format"):
            await cache.fetch_file(site.url, "key")

    async def test_a_broken_gzip(self, cache, site):
        site.answer(gzip.compress(b"x" * 10_000)[:-10], ETag='"1"')
        with pytest.raises(ArchiveError, match="broken archive"):
            await cache.fetch_file(site.url, "key")
