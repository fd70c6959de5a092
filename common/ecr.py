"""The call that exchanges an AWS key pair for credentials of a registry in Amazon ECR. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping

HOST = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]*\.dkr\.ecr(-fips)?\.([a-zA-Z0-9][a-zA-Z0-9_-]*)\.amazonaws\.com(\.cn)?"
)
"""A registry's host; its groups are the variant for FIPS, the region, and China's suffix."""
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
BODY = b"{}"


def api_host(region: str, variant: str) -> str:
    """The host of a region's registry API; variant: ``-fips``, ``.cn``, both or nothing."""
    prefix = "ecr-fips" if variant.startswith("-fips") else "api.ecr"
    return f"{prefix}.{region}.amazonaws.com{'.cn' if variant.endswith('.cn') else ''}"


def signed_headers(host: str, region: str, key_id: str, secret: str, moment: str) -> dict[str, str]:
    """Headers of the call, with the signature of :data:`BODY`; moment: like ``20150830T123600Z``."""
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": moment,
        "x-amz-target": TARGET,
    }
    return {**headers, "authorization": authorize(headers, BODY, region, "ecr", key_id, secret)}


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


def read_token(answer: bytes) -> tuple[str, str]:
    """User and password in the API's answer. Raises ValueError, LookupError, TypeError."""
    token = json.loads(answer)["authorizationData"][0]["authorizationToken"]
    user, colon, password = base64.b64decode(token).decode().partition(":")
    if not colon:
        raise ValueError("the authorization token has no colon")
    return user, password
