"""Download cache: concurrent requests for one key, and the cost of a hit.

A server in the same process serves one archive with an ETag and counts requests. First, fifty downloads of
one key run at once: there must be exactly one request, and all share its answer. Second, a hit (request, 304,
file held and released) is compared with a plain copy of the same file by the standard library.

    .venv/bin/python -m benchmarks.cache --mib 64
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from benchmarks.figures import Figure, arguments_of, hand_on
from executor.cache.downloader import Downloader
from executor.cache.http import Fetcher
from executor.cache.session import AssetTLS, asset_session


def make_archive(path: Path, size: int) -> None:
    """A tar with one file of ``size`` random bytes."""
    content = path.with_suffix(".content")
    with content.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    with tarfile.open(path, "w") as archive:
        archive.add(content, arcname="content")
    content.unlink()


@asynccontextmanager
async def server(archive: Path) -> AsyncIterator[tuple[str, Counter[int]]]:
    """The server's URL, and the number of answers by status."""
    answers: Counter[int] = Counter()

    async def serve(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(archive)  # sends an ETag, and 304 for a matching one

    async def count(_: web.Request, response: web.StreamResponse) -> None:
        answers[response.status] += 1

    app = web.Application()
    app.on_response_prepare.append(count)
    app.router.add_get("/archive", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/archive", answers
    finally:
        await runner.cleanup()


async def measure(mib: int, at_once: int, hits: int) -> list[Figure]:
    """Print the server's request counts, and the cost of a hit beside that of a copy."""
    with tempfile.TemporaryDirectory(prefix="diego-cell-bench-") as name:
        folder = Path(name)
        archive = folder / "archive.tar"
        make_archive(archive, mib << 20)
        async with (
            server(archive) as (url, answers),
            asset_session(AssetTLS()) as session,
            Downloader(Fetcher(session), folder / "cache", 1 << 40) as downloader,
        ):

            async def fetch() -> None:
                (await downloader.fetch_file(url, "key")).release()

            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(fetch())
            burst = time.monotonic() - began
            asked = dict(answers)
            hit, copy = [], []
            for number in range(hits):
                began = time.monotonic()
                await fetch()
                hit.append(time.monotonic() - began)
                began = time.monotonic()
                shutil.copyfile(archive, folder / f"copy-{number}")
                copy.append(time.monotonic() - began)
                (folder / f"copy-{number}").unlink()
    print(f"{at_once} downloads at once took {burst * 1e3:.0f} ms; the server answered {asked}")
    requests = Figure("requests", sum(asked.values()), "", at_once)
    one = Figure("hit", 1e3 * statistics.median(hit), "ms", mib, 1e3 * statistics.median(copy))
    print(
        f"cache {mib} MiB: {requests:.0f} request for {at_once} downloads at once; a hit {one:.1f} ms, "
        f"a plain copy {one.floor:.1f} ms, ratio {one.ratio:.2f}"
    )
    return [requests, one]


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--mib", type=int, default=64, help="size of the archive (default 64)")
    parser.add_argument("--at-once", type=int, default=50, help="downloads at the same time (default 50)")
    parser.add_argument("--hits", type=int, default=20, help="hits measured one by one (default 20)")
    args = parser.parse_args()
    hand_on(asyncio.run(measure(args.mib, args.at_once, args.hits)), args.json)


if __name__ == "__main__":
    main()
