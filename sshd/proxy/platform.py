"""The realm of Cloud Foundry's users, over a client of the platform.

The client exchanges a one-time code for a token, and checks access to an app with the token.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from common.gourl import URLError
from common.gourl import parse as parse_url
from common.reading import whole
from sshd.proxy.realms import Denied, Instance, instance_index
from sshd.records import ERROR, INFO, Records

_CF = re.compile(r"cf:([a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12})/([0-9]+)")

UNKNOWN = "unknown"

MAX_ANSWER = 1024 * 1024
"""Limit of an answer, in bytes."""


@dataclass(frozen=True, slots=True)
class PlatformURLs:
    token_url: str
    username: str
    password: str
    cc_api_url: str


def open_session(timeout_s: float) -> aiohttp.ClientSession:
    """The shared HTTP session: without cookies, which belong to one user, and without a connection limit.

    timeout_s: limit of a whole request with its answer.
    """
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Platform:
    """Client of the platform. One call makes two requests; neither is retried, as the code is valid once."""

    def __init__(
        self,
        urls: PlatformURLs,
        session: aiohttp.ClientSession,
        records: Records,
        *,
        uaa_tls: ssl.SSLContext | bool,
        cc_tls: ssl.SSLContext | bool,
    ) -> None:
        self._urls = urls
        self._session = session
        self._records = records
        self._uaa_tls = uaa_tls
        self._cc_tls = cc_tls

    async def instance(self, app_guid: str, index: int, code: str) -> Instance:
        """The instance, if the user may reach it. Raises :class:`Denied`."""
        authorization, user_id = await self._token(code)
        try:
            base = self._urls.cc_api_url.rstrip("/")
            parse_url(base)
        except URLError as error:
            raise Denied("CloudController URL Invalid") from error
        url = f"{base}/internal/apps/{app_guid}/ssh_access/{index}"
        try:
            status, answer = await self._ask("GET", url, {"Authorization": authorization}, None, self._cc_tls)
        except _NoAnswer as error:
            self._records.write(ERROR, "fetching-app-failed", error=str(error))
            raise Denied("Fetching application data failed") from error
        if status != 200:
            raise Denied("Fetching application data failed")
        guid = answer.get("process_guid")
        if not isinstance(guid, str):
            raise Denied("Invalid response from Cloud Controller")
        return Instance(guid, index, user_id)

    async def _token(self, code: str) -> tuple[str, str]:
        """The ``Authorization`` header for the code's user, and the user id if the token contains one."""
        basic = base64.b64encode(f"{self._urls.username}:{self._urls.password}".encode()).decode()
        form = {"grant_type": "authorization_code", "code": code}
        headers = {"Accept": "application/json", "Authorization": f"Basic {basic}"}
        try:
            status, answer = await self._ask("POST", self._urls.token_url, headers, form, self._uaa_tls)
        except _NoAnswer as error:
            self._records.write(ERROR, "exchange-code-for-token-failed", error=str(error))
            raise Denied("Authentication failed") from error
        token, kind = answer.get("access_token"), answer.get("token_type")
        if status != 200 or not isinstance(token, str) or not isinstance(kind, str):
            raise Denied("Authentication failed")
        name, guid = token_user(token)
        self._records.write(INFO, "app-access-by", user_name=name, user_id=guid)
        return f"{kind} {token}", "" if guid == UNKNOWN else guid

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        tls: ssl.SSLContext | bool,
    ) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON object of an answer; an empty object for any other text. Raises _NoAnswer."""
        try:
            async with self._session.request(method, url, data=form, headers=headers, ssl=tls) as response:
                return response.status, _object(await whole(response.content.readany, MAX_ANSWER)) or {}
        except TimeoutError as error:
            raise _NoAnswer(f"{method} {url}: no answer in time") from error
        # a token may contain characters that are invalid in a header
        except (aiohttp.ClientError, ValueError) as error:
            raise _NoAnswer(f"{method} {url}: {error}") from error


class CloudFoundryRealm:
    """``cf:APP_GUID/INDEX`` with a one-time code as password."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def instance(self, user: str, password: str) -> Instance | None:
        found = _CF.fullmatch(user)
        if found is None:
            return None
        return await self._platform.instance(found[1], instance_index(found[2]), password)


class _NoAnswer(Exception):
    """A request without a usable answer; the text is for the log."""


def token_user(token: str) -> tuple[str, str]:
    """User name and id in a token, unverified: for the log only. ``unknown`` if missing."""
    parts = token.split(".")
    try:
        claims = _object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, binascii.Error, ValueError):
        claims = None
    found = claims or {}
    return str(found.get("user_name", UNKNOWN)), str(found.get("user_id", UNKNOWN))


def _object(text: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
