"""Client of the file server of `cell dev`, for the inputs and results of staging."""

from __future__ import annotations

from typing import Final, Self

import aiohttp

from cell.apps.packing import Packed
from cell.apps.recipes.values import Asset, Uploads
from cell.client.session import ComponentFailed
from cell.client.target import BadArguments, Target
from common.reading import beginning

SHOWN_BYTES: Final = 1000
"""Maximum length of a server's message about a refused upload."""

LIMITS = aiohttp.ClientTimeout(total=600, sock_connect=10)


class Blobs:
    """Use as an async context manager. Calls raise ComponentFailed if the server refuses or is down."""

    def __init__(self, base: str, base_of_cells: str = "") -> None:
        """base: URL of the file server. base_of_cells: the same as cells call it, by default the same URL."""
        self.base = base
        self._base_of_cells = base_of_cells or base
        self._session = aiohttp.ClientSession(timeout=LIMITS)

    @classmethod
    def of(cls, target: Target) -> Self:
        """Raises BadArguments if there is none."""
        if not target.file_server:
            raise BadArguments(
                f"no file server: {target.origin} names only a BBS; start `cell dev`, or give its --state-dir"
            )
        return cls(target.file_server, target.file_server_of_cells)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def lifecycle_url(self, name: str) -> str:
        """URL of a bundle: ``buildpack_app_lifecycle`` or ``docker_app_lifecycle``."""
        return f"{self._base_of_cells}/v1/static/{name}/{name}.tgz"

    def uploads(self, *, droplet_guid: str, app_guid: str, stack: str) -> Uploads:
        """Upload URLs for the results of a staging."""
        cloud = f"{self._base_of_cells}/internal/v4"
        return Uploads(
            uploader=self._base_of_cells,
            droplet_uri=f"{cloud}/droplets/{droplet_guid}/upload",
            cache_uri=f"{cloud}/buildpack_cache/{stack}/{app_guid}/upload",
        )

    async def droplet(self, guid: str) -> Asset:
        """An uploaded droplet."""
        found = await self._asset(f"droplets/{guid}.tgz")
        if found is None:
            raise ComponentFailed(f"{self.base} has no droplet {guid}, although it was uploaded")
        return found

    async def cache(self, stack: str, app_guid: str) -> Asset | None:
        """The build artifacts of an earlier staging."""
        return await self._asset(f"buildpack_cache/{stack}/{app_guid}.tgz")

    async def put(self, kind: str, packed: Packed) -> Asset:
        """Upload under the digest of the content if missing. kind: ``packages`` or ``buildpacks``."""
        asset = Asset(
            url=f"{self._base_of_cells}/v1/static/{kind}/{packed.sha256}",
            sha256=packed.sha256,
            media=packed.media,
        )
        if await self._asset(f"{kind}/{packed.sha256}") is not None:
            return asset
        url = f"{self.base}/internal/v4/{kind}/{packed.sha256}/upload"
        with packed.path.open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename=packed.path.name, content_type="application/octet-stream")
            try:
                async with self._session.post(url, data=form) as response:
                    if response.status != 201:
                        answer = await beginning(response.content.read, SHOWN_BYTES)
                        text = answer.decode(errors="replace").strip()
                        raise ComponentFailed(f"{url} answered {response.status}: {text}")
            except (aiohttp.ClientError, TimeoutError) as error:
                raise ComponentFailed(f"{url}: {_text(error)}") from error
        return asset

    async def _asset(self, path: str) -> Asset | None:
        url = f"{self.base}/v1/static/{path}"
        try:
            async with self._session.get(url, headers={"Range": "bytes=0-0"}) as response:
                if response.status == 404:
                    return None
                if response.status not in (200, 206):
                    raise ComponentFailed(f"{url} answered {response.status}")
                if not (tag := response.headers.get("ETag", "").strip('"')):
                    raise ComponentFailed(
                        f"{url} is not the file server of a `cell dev`: the response has no ETag"
                    )
                return Asset(url=f"{self._base_of_cells}/v1/static/{path}", sha256=tag)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ComponentFailed(f"{url}: {_text(error)}") from error


def _text(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error)
