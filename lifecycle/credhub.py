"""CredHub interpolation: replaces the references in ``VCAP_SERVICES`` with credentials.

The launcher of docker apps and the programs of buildpack apps differ: the order of the checks and the
messages are different, and only the buildpack programs retry. This module has both variants, over one call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from common.goerrors import reason
from common.gojson import JSONError, decode, decode_object, member
from common.gotext import SECOND, quote
from common.gourl import URL, URLError, parse

REFERENCE = '"credhub-ref"'
"""Text in ``VCAP_SERVICES`` that makes interpolation necessary."""
TIMEOUT = 30.0
"""Limit of each wait of a call, in seconds."""


class PlatformOptionsError(Exception):
    """``VCAP_PLATFORM_OPTIONS`` is not JSON of the right shape; ``str()`` is the reason."""


class CredHubError(Exception):
    """Interpolation failed; ``str()`` is the complete text for standard error."""


class _CallError(Exception):
    """A failed call; ``str()`` is the reason."""


def credhub_uri(environment: Mapping[str, str]) -> str:
    """The ``credhub-uri`` of the platform options; empty if absent. Raises PlatformOptionsError."""
    options = environment.get("VCAP_PLATFORM_OPTIONS")
    if not options:
        return ""
    try:
        return member(decode_object(options, "PlatformOptions"), "credhub-uri", str, "credhub-uri") or ""
    except JSONError as error:
        raise PlatformOptionsError(str(error)) from error


def interpolate_for_docker(uri: str, environment: Mapping[str, str]) -> str | None:
    """The new ``VCAP_SERVICES``; None if there is nothing to replace. Raises CredHubError."""
    services = environment.get("VCAP_SERVICES", "")
    if not uri or REFERENCE not in services:
        return None
    try:
        url = _endpoint(uri)
        if not url.scheme or not (url.host or url.opaque):
            raise URLError("not absolute")
    except URLError as error:
        raise CredHubError(f"Invalid CredHub URI: '{uri}'\n") from error
    certificate, key = _identity(environment)
    if not certificate or not key:
        raise CredHubError(
            "Unable to load instance identity credentials; "
            f"CF_INSTANCE_CERT: '{certificate}', CF_INSTANCE_KEY: '{key}'\n"
        )
    roots: list[Path] = []
    with suppress(OSError):  # an unreadable directory counts as one without certificates
        roots = _roots(environment.get("CF_SYSTEM_CERT_PATH") or ".")
    try:
        client = _Client(url, certificate, key, roots)
    except _CallError as error:
        raise CredHubError(f"Unable to create a credhub client: {error}\n") from error
    try:
        return client.interpolate(services)
    except _CallError as error:
        raise CredHubError(f"Unable to interpolate credhub references: {error}") from error


def interpolate_for_buildpack(
    uri: str, environment: Mapping[str, str], attempts: int, delay: int
) -> str | None:
    """The new ``VCAP_SERVICES``; None if there is nothing to replace. Raises CredHubError.

    ``delay`` in ns follows each failed attempt. Each failure is reported on standard output.
    """
    services = environment.get("VCAP_SERVICES", "")
    if not uri or REFERENCE not in services or environment.get("CREDHUB_SKIP_INTERPOLATION"):
        return None
    failed = "Unable to interpolate credhub refs: "
    try:
        client = _set_up_for_buildpack(uri, environment)
    except _CallError as error:
        raise CredHubError(f"{failed}Unable to set up credhub client: {error}") from error
    last = ""
    for attempt in range(1, attempts + 1):
        try:
            return client.interpolate(services)
        except _CallError as error:
            url = f"Post {quote(str(client.url))}: " if error.__cause__ is not None else ""
            last = f"Unable to interpolate credhub references: {url}{error}"
            print(f"Failed on attempt {attempt} out of {attempts}: {last}", flush=True)
            time.sleep(max(delay, 0) / SECOND)
    raise CredHubError(f"{failed}{last}")


def _set_up_for_buildpack(uri: str, environment: Mapping[str, str]) -> _Client:
    certificate, key = _identity(environment)
    if not certificate or not key:
        raise _CallError("Missing CF_INSTANCE_CERT and/or CF_INSTANCE_KEY")
    folder = environment.get("CF_SYSTEM_CERT_PATH")
    if not folder:
        raise _CallError("Missing CF_SYSTEM_CERT_PATH")
    try:
        roots = _roots(folder)
    except OSError as error:
        raise _CallError(
            f"Can't read contents of system cert path: open {folder}: {reason(error)}"
        ) from error
    try:
        return _Client(_endpoint(uri), certificate, key, roots)
    except URLError as error:
        raise _CallError(str(error)) from error


def _identity(environment: Mapping[str, str]) -> tuple[str, str]:
    return environment.get("CF_INSTANCE_CERT", ""), environment.get("CF_INSTANCE_KEY", "")


def _roots(folder: str) -> list[Path]:
    """The ``*.crt`` files of a directory. Raises OSError."""
    return sorted(path for path in Path(folder).iterdir() if path.name.endswith(".crt"))


def _endpoint(uri: str) -> URL:
    """The URL for the POST request. Raises URLError."""
    parse(uri)
    return parse(f"{uri.removesuffix('/')}/api/v1/interpolate")


class _Client:
    """Sends the request with the instance's identity certificate."""

    def __init__(self, url: URL, certificate: str, key: str, roots: list[Path]) -> None:
        from common.imagetls import client_context, ssl  # not needed by apps without references

        self.url = url
        for path in (certificate, key):
            try:
                Path(path).open("rb").close()
            except OSError as error:
                raise _CallError(f"open {path}: {reason(error)}") from error
        self._context = client_context(extra_roots=roots)
        try:
            self._context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise _CallError(f"tls: unusable key pair {certificate}, {key}: {error}") from error

    def interpolate(self, services: str) -> str:
        """Send the request. Raises _CallError; its cause is set if no answer came."""
        from lifecycle.http import TransportError, request

        headers = {"Content-Type": "application/json"}
        content = services.encode("utf-8", "surrogateescape")
        try:
            with request("POST", self.url, headers, content, self._context, TIMEOUT) as answer:
                body = answer.read().decode("utf-8", "surrogateescape")
                status = answer.status
        except TransportError as error:
            raise _CallError(str(error)) from error
        if 200 <= status < 300:
            return body
        raise _CallError(_refusal(body))


def _refusal(body: str) -> str:
    """The reason that CredHub gives for a refusal."""
    try:
        answer = decode(body)
    except JSONError as error:
        return f"The response body could not be decoded: {error}"
    texts = [answer.get(name) for name in ("error", "error_description")] if isinstance(answer, dict) else []
    return ": ".join(text for text in texts if isinstance(text, str) and text)
