"""Registry credentials of Amazon ECR: exchanges an access key pair for a registry user and password.

For ECR images the workload's image credentials are the key id and the secret. The exchange is one signed
call to the registry's API, GetAuthorizationToken. Other credentials pass through unchanged.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from rep.runrequest import RunRequestError

ECR_IMAGE = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]*\.dkr\.ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9_-]*)\.amazonaws\.com(\.cn)?[^ ]*"
)
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
BODY = b"{}"
TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 << 10
FAILED = "failed to get ECR credentials"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class RegistryCredentials:
    """Passes credentials through, except for images in ECR."""

    def __init__(
        self,
        *,
        endpoint: Callable[[str, str], str] | None = None,
        now: Callable[[], datetime.datetime] = _now,
        backoff: Backoff | None = None,
    ) -> None:
        self._endpoint = endpoint or api_url
        self._backoff = backoff or Backoff()
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
        retrying = self._backoff.retrying(retry_if_exception_type(_Unanswered))
        try:
            answer: bytes = await retrying(_ask, url, headers)
        except _Unanswered as error:
            raise RunRequestError(f"{FAILED}: {error}", detail=f"{url}: {error.detail}") from error
        try:
            return read_token(json.loads(answer))
        except (ValueError, LookupError, TypeError) as error:
            raise RunRequestError(f"{FAILED}: the answer has no token", detail=f"{url}: {error!r}") from error


class _Unanswered(Exception):
    """The registry's API gave no usable answer; a retry can succeed. detail: for the log."""

    def __init__(self, text: str, detail: str) -> None:
        super().__init__(text)
        self.detail = detail


async def _ask(url: str, headers: Mapping[str, str]) -> bytes:
    """The body of a successful answer. Raises _Unanswered, RunRequestError."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=BODY, headers=headers) as response,
        ):
            status, body = response.status, await response.content.read(MAX_ANSWER_BYTES)
    except TimeoutError as error:
        raise _Unanswered("no answer in time", repr(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _Unanswered("the registry cannot be reached", repr(error)) from error
    if status == 200:
        return body
    shown = body[:500].decode("utf-8", "replace")
    if status == 429 or status >= 500:
        raise _Unanswered(f"status {status}", shown)
    raise RunRequestError(f"{FAILED}: status {status}{_message(body)}", detail=f"{url}: {shown}")


def _message(body: bytes) -> str:
    """The message of an error answer as a suffix, empty if there is none."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return f": {message[:200]}" if isinstance(message, str) and message.isprintable() else ""


def read_token(answer: Mapping[str, list[dict[str, str]]]) -> tuple[str, str]:
    """User and password from the API's answer. Raises ValueError, KeyError, IndexError."""
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
    """Signature version 4 of a POST to ``/``. headers: sorted by lower-case name, including a date."""
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
    """The URL of a region's registry API; variant: ``-fips``, ``.cn``, both or nothing."""
    fips = "-fips" if variant.startswith("-fips") else ""
    china = ".cn" if variant.endswith(".cn") else ""
    prefix = f"ecr{fips}" if fips else "api.ecr"
    return f"https://{prefix}.{region}.amazonaws.com{china}/"
