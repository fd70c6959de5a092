"""Registry client (v2 protocol) that reads an image's configuration and nothing else of the image."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from common.gotext import quote
from common.gourl import URL, URLError, parse, resolve
from common.imagetls import client_context
from lifecycle.docker.reference import Reference
from lifecycle.http import TransportError, check_complete, request

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SCHEMA_2 = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA_1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, SCHEMA_2, SCHEMA_1_SIGNED, SCHEMA_1, DOCKER_LIST))

TIMEOUT = 60.0
"""Limit of each wait, in seconds."""
MAX_BYTES = 4 << 20
"""Limit of a manifest or a configuration."""
MAX_REDIRECTS = 10
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"([^"]*)"|([^",\s]+))')


class RegistryError(Exception):
    """A failed registry request; ``str()`` is the cause."""


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str = ""
    password: str = ""

    @property
    def header(self) -> str:
        pair = f"{self.user}:{self.password}".encode("utf-8", "surrogateescape")
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    phrase: str
    headers: http.client.HTTPMessage
    body: bytes

    def complaint(self) -> str:
        """The error message in the registry's answer."""
        try:
            error = json.loads(self.body)["errors"][0]
            text = error.get("message") or str(error["code"]).replace("_", " ").lower()
            return str(text)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            if self.status == 401:
                return "authentication required"
            return f"received unexpected HTTP status: {self.status} {self.phrase}"


class Registry:
    """Client for one repository of a registry.

    ``insecure`` skips certificate checks, and uses plain HTTP if the registry has no TLS.
    """

    def __init__(self, reference: Reference, credentials: Credentials, insecure: bool) -> None:
        self._reference = reference
        self._credentials = credentials
        self._insecure = insecure
        self._scheme = "https"
        self._authorization = ""

    def config_digest(self) -> tuple[str, dict[str, Any] | None]:
        """The digest of the image's configuration, or the configuration itself for images of schema 1.

        Raises RegistryError.
        """
        self._sign_in()
        kind, manifest = self._manifest(self._reference.version)
        if kind in (OCI_INDEX, DOCKER_LIST) or "manifests" in manifest:
            _, manifest = self._manifest(_choose(manifest))
        if manifest.get("schemaVersion") == 1:
            return "", _schema_1_config(manifest)
        try:
            return str(manifest["config"]["digest"]), None
        except (LookupError, TypeError) as error:
            raise RegistryError(f"unsupported manifest of {self._reference.full_name}") from error

    def config(self, digest: str) -> dict[str, Any]:
        """The image's configuration. Raises RegistryError."""
        if not self._authorization:
            self._sign_in()
        answer = self._get(f"/v2/{self._reference.name}/blobs/{digest}", {})
        if answer.status != 200:
            raise RegistryError(f"fetching blob: {answer.complaint()}")
        _check_digest(answer.body, digest)
        return _object(answer.body, "image configuration")

    def _manifest(self, version: str) -> tuple[str, dict[str, Any]]:
        failed = f"reading manifest {version} in {self._reference.full_name}"
        answer = self._get(f"/v2/{self._reference.name}/manifests/{version}", {"Accept": ACCEPT})
        if answer.status != 200:
            raise RegistryError(f"{failed}: {answer.complaint()}")
        if version.startswith("sha256:"):
            _check_digest(_signed(answer.body), version)
        manifest = _object(answer.body, "manifest")
        kind = manifest.get("mediaType") or answer.headers.get_content_type()
        return str(kind), manifest

    # -- authentication ------------------------------------------------------------------------------

    def _sign_in(self) -> None:
        """Determine scheme and authentication of the registry. Raises RegistryError."""
        host = self._reference.registry
        failed = f"pinging container registry {host}"
        for scheme in ("https", "http") if self._insecure else ("https",):
            self._scheme = scheme
            try:
                answer = self._get("/v2/", {})
                break
            except RegistryError as error:
                last = error
        else:
            raise RegistryError(f"{failed}: {last}") from last
        if answer.status == 401:
            self._answer_challenge(answer.headers.get_all("WWW-Authenticate") or [])
        elif answer.status != 200:
            raise RegistryError(f"{failed}: {answer.complaint()}")

    def _answer_challenge(self, challenges: list[str]) -> None:
        for challenge in challenges:
            kind, _, rest = challenge.partition(" ")
            parameters = {name.lower(): a or b for name, a, b in _PARAMETER.findall(rest)}
            if kind.lower() == "bearer" and "realm" in parameters:
                self._authorization = f"Bearer {self._token(parameters)}"
                return
            if kind.lower() == "basic" and self._credentials.user:
                self._authorization = self._credentials.header
                return

    def _token(self, parameters: Mapping[str, str]) -> str:
        query = {"scope": f"repository:{self._reference.name}:pull"}
        if parameters.get("service"):
            query["service"] = parameters["service"]
        headers = {}
        if self._credentials.user:
            query = {"account": self._credentials.user, **query}
            headers["Authorization"] = self._credentials.header
        realm = parameters["realm"]
        joint = "&" if "?" in realm else "?"
        answer = self._request(f"{realm}{joint}{urlencode(query)}", headers)
        failed = "unable to retrieve auth token"
        if answer.status == 401:
            raise RegistryError(f"{failed}: invalid username/password: {answer.complaint()}")
        if answer.status != 200:
            raise RegistryError(f"{failed}: {answer.complaint()}")
        token = _object(answer.body, "token")
        return str(token.get("token") or token.get("access_token") or "")

    # -- requests ------------------------------------------------------------------------------------

    def _get(self, path: str, headers: Mapping[str, str]) -> _Answer:
        authorization = {"Authorization": self._authorization} if self._authorization else {}
        url = f"{self._scheme}://{self._reference.registry}{path}"
        return self._request(url, {**headers, **authorization})

    def _request(self, target: str, headers: Mapping[str, str]) -> _Answer:
        """The answer after any redirects. Raises RegistryError.

        Our authorization is not sent to another host, nor to the same host after a redirect from TLS to plain
        HTTP.
        """
        try:
            url = parse(target)
            for _ in range(MAX_REDIRECTS):
                answer, location = self._request_once(url, headers)
                if not location:
                    return answer
                following = resolve(url, location)
                if (following.scheme, following.host) != (url.scheme, url.host):
                    headers = {name: value for name, value in headers.items() if name != "Authorization"}
                url = following
        except URLError as error:
            raise RegistryError(str(error)) from error
        raise RegistryError(f"Get {quote(target)}: stopped after {MAX_REDIRECTS} redirects")

    def _request_once(self, url: URL, headers: Mapping[str, str]) -> tuple[_Answer, str]:
        context = client_context(verify=not self._insecure) if url.scheme == "https" else None
        try:
            with request("GET", url, headers, None, context, TIMEOUT) as answer:
                moved = answer.status in (301, 302, 303, 307, 308)
                body = answer.read(MAX_BYTES)
                if len(body) < MAX_BYTES:
                    check_complete(answer)
                location = answer.getheader("Location", "") if moved else ""
                return _Answer(answer.status, answer.reason, answer.headers, body), location
        except TransportError as error:
            raise RegistryError(f"Get {quote(str(url))}: {error}") from error


def _choose(index: Mapping[str, Any]) -> str:
    """The digest of the manifest for Linux on this machine's architecture. Raises RegistryError."""
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine, machine)
    try:
        for entry in index["manifests"]:
            platform = entry.get("platform") or {}
            if platform.get("os") == "linux" and platform.get("architecture") == architecture:
                return str(entry["digest"])
    except (LookupError, TypeError, AttributeError) as error:
        raise RegistryError("malformed image index") from error
    raise RegistryError(
        f'no image found in manifest list for architecture "{architecture}", variant "", OS "linux"'
    )


def _schema_1_config(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the top layer, which a schema 1 manifest contains as text."""
    try:
        return _object(str(manifest["history"][0]["v1Compatibility"]).encode(), "image configuration")
    except (LookupError, TypeError) as error:
        raise RegistryError("malformed manifest of schema 1") from error


def _signed(manifest: bytes) -> bytes:
    """The bytes that a manifest's digest covers: all, except the embedded signatures of schema 1."""
    try:
        protected = json.loads(manifest)["signatures"][0]["protected"]
        form = json.loads(_base64url(protected))
        return manifest[: form["formatLength"]] + _base64url(form["formatTail"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return manifest


def _base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _check_digest(content: bytes, digest: str) -> None:
    algorithm, _, _ = digest.partition(":")
    if algorithm not in ("sha256", "sha512"):
        raise RegistryError(f"unsupported digest algorithm {algorithm}")
    found = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    if found != digest:
        raise RegistryError(f"Digest did not match, expected {digest}, got {found}")


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"unusable {what}: {error}") from error
    if not isinstance(value, dict):
        raise RegistryError(f"unusable {what}: not a JSON object")
    return value
