"""The platform's word on a user: a token for a one-time code, and access to an app with the token."""

from __future__ import annotations

import base64
import binascii
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from lifecycle.gourl import URLError
from lifecycle.gourl import parse as parse_url
from sshd.proxy.realms import Denied
from sshd.records import ERROR, INFO, Records

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PlatformURLs:
    token_url: str
    username: str
    password: str
    cc_api_url: str


class Platform:
    """``AppAccess`` over HTTP.

    One call is two requests, none of which is tried again: the code works once.
    """

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

    async def process_guid(self, app_guid: str, index: int, code: str) -> str:
        authorization = await self._token(code)
        try:
            base = self._urls.cc_api_url.rstrip("/")
            parse_url(base)
        except URLError as error:
            raise Denied("CloudController URL Invalid") from error
        try:
            async with self._session.get(
                f"{base}/internal/apps/{app_guid}/ssh_access/{index}",
                headers={"Authorization": authorization},
                ssl=self._cc_tls,
            ) as response:
                if response.status != 200:
                    raise Denied("Fetching application data failed")
                answer = _object(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._records.write(ERROR, "fetching-app-failed", error=str(error))
            raise Denied("Fetching application data failed") from error
        guid = (answer or {}).get("process_guid")
        if not isinstance(guid, str):
            raise Denied("Invalid response from Cloud Controller")
        return guid

    async def _token(self, code: str) -> str:
        basic = base64.b64encode(f"{self._urls.username}:{self._urls.password}".encode()).decode()
        try:
            async with self._session.post(
                self._urls.token_url,
                data={"grant_type": "authorization_code", "code": code},
                headers={"Accept": "application/json", "Authorization": f"Basic {basic}"},
                ssl=self._uaa_tls,
            ) as response:
                if response.status != 200:
                    raise Denied("Authentication failed")
                answer = _object(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._records.write(ERROR, "exchange-code-for-token-failed", error=str(error))
            raise Denied("Authentication failed") from error
        token = (answer or {}).get("access_token")
        kind = (answer or {}).get("token_type")
        if not isinstance(token, str) or not isinstance(kind, str):
            raise Denied("Authentication failed")
        name, guid = token_user(token)
        self._records.write(INFO, "app-access-by", user_name=name, user_id=guid)
        return f"{kind} {token}"


def token_user(token: str) -> tuple[str, str]:
    """Name and id a token speaks of, unverified: for the log only. ``unknown`` where it does not."""
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
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
