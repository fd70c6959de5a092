"""Credentials of Amazon's registries: an access key pair buys a registry user and password.

The image credentials of a workload are then the key id and the secret. One signed call to the
registry's API, GetAuthorizationToken; everything else passes through unchanged.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping

import aiohttp

from rep.runrequest import RunRequestError

ECR_IMAGE = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]*\.dkr\.ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9_-]*)\.amazonaws\.com(\.cn)?[^ ]*"
)
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
BODY = b"{}"
TIMEOUT_S = 10.0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class RegistryCredentials:
    """Passes credentials through, except for images in ECR."""

    def __init__(
        self,
        *,
        endpoint: Callable[[str, str], str] | None = None,
        now: Callable[[], datetime.datetime] = _now,
    ) -> None:
        self._endpoint = endpoint or api_url
        self._now = now

    async def exchange(self, root_fs: str, username: str, password: str) -> tuple[str, str]:
        """User and password for the registry of ``root_fs``. Raises RunRequestError."""
        match = ECR_IMAGE.search(root_fs)
        if match is None or not username:
            return username, password
        fips, region, china = match.groups(default="")
        url = self._endpoint(region, f"{fips}{china}")
        host = url.split("://", 1)[1].rstrip("/")
        headers = signed_headers(host, region, username, password, self._now())
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, data=BODY, headers=headers) as response,
            ):
                if response.status != 200:
                    raise RunRequestError(
                        f"failed to get ECR credentials: {url} answered {response.status}: "
                        f"{(await response.text())[:500]}"
                    )
                return read_token(await response.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError, TypeError) as error:
            raise RunRequestError(f"failed to get ECR credentials: {url}: {error!r}") from error


def read_token(answer: Mapping[str, list[dict[str, str]]]) -> tuple[str, str]:
    """User and password out of the API's answer. Raises ValueError, KeyError, IndexError."""
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, colon, password = token.partition(":")
    if not colon:
        raise ValueError("the authorization token has no colon")
    return user, password


def signed_headers(
    host: str, region: str, key_id: str, secret: str, now: datetime.datetime
) -> dict[str, str]:
    """Headers of the call, with AWS signature version 4 over the empty JSON object as body."""
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-target": TARGET,
    }
    authorization = authorize(headers, BODY, region, "ecr", key_id, secret)
    return {**headers, "authorization": authorization}


def authorize(
    headers: Mapping[str, str], body: bytes, region: str, service: str, key_id: str, secret: str
) -> str:
    """Signature version 4 of a POST to ``/``. headers: in order of their lower-case names, with a date."""
    stamp = headers["x-amz-date"]
    day = stamp[:8]
    names = ";".join(headers)
    listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"POST\n/\n\n{listed}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"


def api_url(region: str, variant: str) -> str:
    """Where the registry API of a region is; variant: ``-fips``, ``.cn``, both or nothing."""
    fips = "-fips" if variant.startswith("-fips") else ""
    china = ".cn" if variant.endswith(".cn") else ""
    prefix = f"ecr{fips}" if fips else "api.ecr"
    return f"https://{prefix}.{region}.amazonaws.com{china}/"
