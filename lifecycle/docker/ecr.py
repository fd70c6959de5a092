"""Amazon ECR credentials: exchanges an AWS key pair for registry credentials."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.ecr import BODY, HOST, api_host, read_token, signed_headers
from common.gourl import parse
from common.imagetls import client_context
from lifecycle.docker.registry import Credentials
from lifecycle.http import TransportError, request

TIMEOUT = 60.0

Send = Callable[[str, dict[str, str], bytes], tuple[int, bytes]]
"""Posts headers and body to the root path of a host; returns status and body."""


class ECRError(Exception):
    """The exchange failed; ``str()`` is the reason."""


def is_ecr(host: str) -> bool:
    return HOST.fullmatch(host) is not None


def exchange(host: str, pair: Credentials, send: Send | None = None, now: float | None = None) -> Credentials:
    """The registry's credentials for an AWS access key pair. Raises ECRError."""
    match = HOST.fullmatch(host)
    if match is None:
        raise ECRError(f"{host} is no ECR registry")
    fips, region, china = match.groups(default="")
    endpoint = api_host(region, f"{fips}{china}")
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = signed_headers(endpoint, region, pair.user, pair.password, moment)
    del headers["host"]  # HTTP adds the Host header itself
    try:
        status, answer = (send or _send)(endpoint, headers, BODY)
        if status != 200:
            raise ECRError(f"status {status}: {answer.decode('utf-8', 'replace').strip()}")
        return Credentials(*read_token(answer))
    except TransportError as error:
        raise ECRError(str(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        raise ECRError(f"unusable answer: {error}") from error


def _send(endpoint: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    with request("POST", parse(f"https://{endpoint}/"), headers, body, client_context(), TIMEOUT) as answer:
        return answer.status, answer.read()
