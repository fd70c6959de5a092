"""Registry credentials of Amazon ECR: exchanges an access key pair for a registry user and password.

For ECR images the workload's image credentials are the key id and the secret. The exchange is one signed
call to the registry's API, GetAuthorizationToken. Other credentials pass through unchanged.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping

import aiohttp
from tenacity import retry_if_exception_type

from bbs.backoff import Backoff
from common import ecr
from common.reading import beginning
from rep.runrequest import RunRequestError

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
        self._endpoint = endpoint or (lambda region, variant: f"https://{ecr.api_host(region, variant)}/")
        self._backoff = backoff or Backoff()
        self._now = now

    async def exchange(self, root_fs: str, username: str, password: str) -> tuple[str, str]:
        """User and password for the registry of ``root_fs``. Raises RunRequestError."""
        match = ecr.HOST.search(root_fs)
        if match is None or not username:
            return username, password
        fips, region, china = match.groups(default="")
        url = self._endpoint(region, f"{fips}{china}")
        host = url.split("://", 1)[1].rstrip("/")
        moment = self._now().strftime("%Y%m%dT%H%M%SZ")
        headers = ecr.signed_headers(host, region, username, password, moment)
        retrying = self._backoff.retrying(retry_if_exception_type(_Unanswered))
        try:
            answer: bytes = await retrying(_ask, url, headers)
        except _Unanswered as error:
            raise RunRequestError(f"{FAILED}: {error}", detail=f"{url}: {error.detail}") from error
        try:
            return ecr.read_token(answer)
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
            session.post(url, data=ecr.BODY, headers=headers) as response,
        ):
            status, body = response.status, await beginning(response.content.read, MAX_ANSWER_BYTES)
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
