"""The BBS and Locket of a command: from options, cfdot's variables, or a local ``cell dev``."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bbs.client.oneshot import OneShotBBSClient
from bbs.client.transport import Policy
from cell.cli import FILE, FOLDER, Option
from cell.development.endpoints import DEFAULT_STATE_DIR, FILE_NAME, NoEndpoints, read_endpoints
from common.gotext import InvalidDuration, parse_duration

TRUE, FALSE = ("1", "t", "true"), ("", "0", "f", "false")


class BadArguments(Exception):
    """The arguments are invalid; the message names valid ones."""


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """Client identity for BBS and Locket. ca_file: None to skip verification of their certificates."""

    ca_file: Path | None
    cert_file: Path
    key_file: Path

    def context(self) -> ssl.SSLContext:
        """Raises BadArguments."""
        # A local import: TLS modules are slow to import, and plain HTTP does not need them.
        from bbs.client import tls

        try:
            if self.ca_file is None:
                return tls.unverified_client_context(self.cert_file, self.key_file)
            return tls.client_context(self.ca_file, self.cert_file, self.key_file)
        except tls.TLSConfigurationError as error:
            raise BadArguments(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The components of a command.

    bbs_url, locket_address: empty if not configured. origin: the source of bbs_url, for people.
    file_server, logs: base URLs of a ``cell dev``, otherwise empty. file_server_of_cells: that of the file
    server as cells call it. router: URL of the router of apps, empty without one.
    timeout_s: of a request, seconds; 0 for none, None for the client's default.
    """

    bbs_url: str = ""
    locket_address: str = ""
    origin: str = ""
    file_server: str = ""
    file_server_of_cells: str = ""
    logs: str = ""
    router: str = ""
    tls: TLSFiles | None = None
    timeout_s: float | None = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """The context for https. Raises BadArguments."""
        if not self.bbs_url.startswith("https:"):
            return None
        if self.tls is None:
            raise BadArguments(
                f"{self.bbs_url} requires a client certificate: give --cert and --key (CLIENT_CERT_FILE,"
                " CLIENT_KEY_FILE), and --ca-cert (CA_CERT_FILE) or --skip-cert-verify (SKIP_CERT_VERIFY)"
            )
        return self.tls.context()

    def bbs(self) -> OneShotBBSClient:
        """A client of the BBS. Raises BadArguments."""
        return OneShotBBSClient(self.bbs_url, ssl_context=self.ssl_context(), policy=self.policy())

    def policy(self) -> Policy:
        """One attempt per call, like cfdot: users repeat commands themselves."""
        if self.timeout_s is None:
            return Policy(attempts=1)
        return Policy(attempts=1, request_timeout_s=self.timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """The options that name the components; None or empty if not given."""

    bbs_url: str | None
    locket_address: str | None
    ca_cert: Path | None
    cert: Path | None
    key: Path | None
    skip_cert_verify: bool
    timeout: str | None
    state_dir: Path | None


OPTIONS = tuple(
    Option(
        [name],
        section="Target (default: the `cell dev` of this machine; variables are those of cfdot)",
        help=text,
        **settings,
    )
    for name, settings, text in (
        ("--bbs-url", {"metavar": "URL"}, "URL of the BBS (BBS_URL)"),
        ("--locket-address", {"metavar": "HOST:PORT"}, "address of Locket (LOCKET_API_LOCATION)"),
        ("--ca-cert", {"metavar": "FILE", "type": FILE}, "CA of the servers' certificates (CA_CERT_FILE)"),
        ("--cert", {"metavar": "FILE", "type": FILE}, "client certificate (CLIENT_CERT_FILE)"),
        ("--key", {"metavar": "FILE", "type": FILE}, "key of the certificate (CLIENT_KEY_FILE)"),
        ("--skip-cert-verify", {"is_flag": True}, "do not verify the certificates (SKIP_CERT_VERIFY)"),
        ("--timeout", {"metavar": "TIME"}, "limit of a request: 5 or 500ms, 0 for none (CFDOT_TIMEOUT)"),
        (
            "--state-dir",
            {"metavar": "DIR", "type": FOLDER},
            f"state of a `cell dev`; default: {DEFAULT_STATE_DIR}",
        ),
    )
)


def find_target(options: TargetOptions, environment: Mapping[str, str]) -> Target:
    """Options override variables, variables override a ``cell dev``; --state-dir selects one.

    Raises BadArguments.
    """
    timeout_s = _timeout_s(
        options.timeout if options.timeout is not None else environment.get("CFDOT_TIMEOUT", "")
    )
    named = Target(
        bbs_url=options.bbs_url or environment.get("BBS_URL", ""),
        locket_address=options.locket_address or environment.get("LOCKET_API_LOCATION", ""),
        origin="--bbs-url" if options.bbs_url else "BBS_URL",
        tls=_tls(options, environment),
        timeout_s=timeout_s,
    )
    if options.state_dir is not None or not (named.bbs_url or named.locket_address):
        return _of_cell_dev(options, timeout_s)
    _check_url(named)
    return named


def _of_cell_dev(options: TargetOptions, timeout_s: float | None) -> Target:
    state_dir = options.state_dir or DEFAULT_STATE_DIR
    try:
        endpoints = read_endpoints(state_dir)
    except NoEndpoints as error:
        raise BadArguments(
            f"no BBS: name one with --bbs-url or BBS_URL, or start `cell dev` ({error})"
        ) from error
    found = Target(
        bbs_url=options.bbs_url or endpoints.bbs,
        locket_address=options.locket_address or endpoints.locket,
        origin="--bbs-url" if options.bbs_url else str(state_dir / FILE_NAME),
        file_server=endpoints.file_server,
        file_server_of_cells=endpoints.file_server_of_cells,
        router=endpoints.router,
        logs=endpoints.logs,
        tls=_tls(options, {}) or (TLSFiles(*endpoints.tls) if endpoints.tls else None),
        timeout_s=timeout_s,
    )
    _check_url(found)
    return found


def _check_url(target: Target) -> None:
    url = target.bbs_url
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/")
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise BadArguments(f"{target.origin} is {url!r}: expected a URL such as https://bbs.example.com:8889")


def _tls(options: TargetOptions, environment: Mapping[str, str]) -> TLSFiles | None:
    skip = options.skip_cert_verify or _flag("SKIP_CERT_VERIFY", environment.get("SKIP_CERT_VERIFY", ""))
    ca_file = options.ca_cert or _path(environment.get("CA_CERT_FILE", ""))
    cert_file = options.cert or _path(environment.get("CLIENT_CERT_FILE", ""))
    key_file = options.key or _path(environment.get("CLIENT_KEY_FILE", ""))
    if cert_file is None or key_file is None or (ca_file is None and not skip):
        return None
    return TLSFiles(None if skip else ca_file, cert_file, key_file)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _flag(name: str, text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise BadArguments(f"{name} is {text!r}: expected true or false")
    return text.lower() in TRUE


def _timeout_s(text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = int(text) if text.isdecimal() else parse_duration(text) / 1e9
    except InvalidDuration:
        seconds = -1.0
    if seconds < 0:
        raise BadArguments(f"the timeout is {text!r}: expected seconds, or a duration such as 500ms")
    return seconds
