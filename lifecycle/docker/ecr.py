"""Amazon ECR credentials: exchanges an AWS key pair for registry credentials."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable

from common.gourl import parse
from lifecycle.docker.registry import Credentials
from lifecycle.http import TransportError, request
from lifecycle.tls import client_context

HOST = re.compile(r"[0-9a-zA-Z_-]+\.dkr\.ecr(-fips)?\.([a-zA-Z0-9_-]+)\.amazonaws\.com(\.cn)?")
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
CONTENT_TYPE = "application/x-amz-json-1.1"
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
    fips, region, china = match.groups()
    endpoint = f"{'ecr-fips' if fips else 'api.ecr'}.{region}.amazonaws.com{china or ''}"
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    body = b"{}"
    headers = sign(endpoint, region, pair, body, moment)
    try:
        status, answer = (send or _send)(endpoint, headers, body)
        if status != 200:
            raise ECRError(f"status {status}: {answer.decode('utf-8', 'replace').strip()}")
        token = json.loads(answer)["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
    except TransportError as error:
        raise ECRError(str(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        raise ECRError(f"unusable answer: {error}") from error
    return Credentials(user, password)


def sign(endpoint: str, region: str, pair: Credentials, body: bytes, moment: str) -> dict[str, str]:
    """The headers of the signed request (AWS Signature Version 4); ``moment`` as ``20150830T123600Z``."""
    headers = {"content-type": CONTENT_TYPE, "host": endpoint, "x-amz-date": moment, "x-amz-target": TARGET}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/ecr/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = hmac.new(signing_key(pair.password, moment[:8], region, "ecr"), to_sign.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={pair.user}/{scope}, SignedHeaders={names}, "
        f"Signature={signature.hexdigest()}"
    )
    del headers["host"]  # HTTP adds the Host header itself
    return headers


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return key


def _send(endpoint: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    with request("POST", parse(f"https://{endpoint}/"), headers, body, client_context(), TIMEOUT) as answer:
        return answer.status, answer.read()
