"""Volume plugin client: Docker's volume plugin protocol over HTTP or a unix socket."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from common.reading import whole
from executor.volumes.api import VolumeError
from executor.volumes.specs import DriverSpec, TLSFiles

CALL_TIMEOUT_S = 60.0
"""Long, because a mount may have to reach the driver's storage."""

ACTIVATION_TIMEOUT_S = 5.0
"""A driver that does not answer the activation in this time counts as absent."""

ANSWER_BYTES_MOST = 4 << 20
"""Maximum bytes of a response; a list of ten thousand volumes is smaller."""

_MEDIA_TYPE = "application/vnd.docker.plugins.v1+json"


class PluginDriver:
    """Implements :class:`executor.volumes.api.Driver`. Raises VolumeError for unusable TLS files."""

    def __init__(self, spec: DriverSpec) -> None:
        self.spec = spec
        self._session = aiohttp.ClientSession(
            connector=_connector(spec), timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        )

    @property
    def unique_volume_ids(self) -> bool:
        return self.spec.unique_volume_ids

    async def close(self) -> None:
        await self._session.close()

    async def activate(self) -> None:
        """Check that the driver responds and provides volumes. Raises VolumeError."""
        try:
            async with asyncio.timeout(ACTIVATION_TIMEOUT_S):
                answer = await self._call("Plugin.Activate", {})
        except TimeoutError as error:
            raise VolumeError(f"driver {self.spec.name}: Plugin.Activate: no answer in time") from error
        implements = answer.get("Implements")
        if not isinstance(implements, list) or "VolumeDriver" not in implements:
            raise VolumeError(f"driver {self.spec.name} does not provide volumes: {implements}")

    async def mount(self, name: str, config: Mapping[str, object]) -> str:
        await self._call("VolumeDriver.Create", {"Name": name, "Opts": dict(config)})
        answer = await self._call("VolumeDriver.Mount", {"Name": name}, safe_for_users=True)
        mountpoint = answer.get("Mountpoint")
        if not isinstance(mountpoint, str) or not mountpoint:
            raise VolumeError(f"driver {self.spec.name} mounted volume {name} nowhere")
        return mountpoint

    async def unmount(self, name: str) -> None:
        await self._call("VolumeDriver.Unmount", {"Name": name})

    async def mounted(self) -> list[str]:
        """Names of the driver's volumes. Raises VolumeError."""
        volumes = (await self._call("VolumeDriver.List", {})).get("Volumes") or []
        try:
            return [str(volume["Name"]) for volume in volumes]
        except (TypeError, KeyError) as error:
            raise VolumeError(f"driver {self.spec.name}: VolumeDriver.List: {volumes!r}") from error

    async def _call(self, call: str, body: object, *, safe_for_users: bool = False) -> dict[str, Any]:
        asked = f"driver {self.spec.name}: {call}"
        try:
            async with self._session.post(
                f"{self.spec.url}/{call}", data=json.dumps(body), headers={"Accept": _MEDIA_TYPE}
            ) as response:
                status, text = (
                    response.status,
                    (await whole(response.content.readany, ANSWER_BYTES_MOST)).decode("utf-8", "replace"),
                )
        except TimeoutError as error:
            raise VolumeError(f"{asked}: no answer in time") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise VolumeError(f"{asked}: {error}") from error
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise VolumeError(f"{asked}: status {status}, not a JSON object: {text[:200]!r}")
        if (problem := answer.get("Err")) or status >= 400:
            reason = str(problem or f"status {status}")
            raise VolumeError(f"{asked}: {reason}", safe=safe_description(reason) if safe_for_users else "")
        return answer


def safe_description(error: str) -> str:
    """The part of a driver's error that it marked as safe for users; empty if none."""
    try:
        described = json.loads(error)
    except (ValueError, RecursionError):
        return ""
    safe = described.get("SafeDescription") if isinstance(described, dict) else None
    return safe if isinstance(safe, str) else ""


def _connector(spec: DriverSpec) -> aiohttp.BaseConnector:
    if spec.socket:
        return aiohttp.UnixConnector(spec.socket)
    return aiohttp.TCPConnector(ssl=_context(spec) if spec.tls else True)


def _context(spec: DriverSpec) -> ssl.SSLContext:
    files = spec.tls or TLSFiles()
    try:
        context = ssl.create_default_context(cafile=files.ca_file or None)
        if files.cert_file:
            context.load_cert_chain(files.cert_file, files.key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise VolumeError(f"driver {spec.name}: TLS files: {error}") from error
    if files.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
