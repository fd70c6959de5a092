"""Start-up checks of the proxy, in their order, with their error messages."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from bbs.client.identity import Identity, IdentityFiles
from bbs.client.tls import TLSConfigurationError
from common.goerrors import reason
from common.gourl import URLError
from common.gourl import parse as parse_url
from sshd.keys import KeyRejected, check_private_key
from sshd.proxy.config import ProxyConfig
from sshd.records import ERROR, FATAL, Records
from sshd.ssh.algorithms import KNOWN_CIPHERS, KNOWN_MACS, proxy_key_exchanges, unknown_names

FATAL_STATUS = 2
CONFIGURATION_STATUS = 1


class CannotStart(Exception):
    """The start failed and everything is logged; ``status`` is the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Ready:
    """The result of the checks. ``backend_tls`` is None if TLS to instances is off."""

    bbs_identity: Identity
    uaa_tls: ssl.SSLContext | bool
    cc_tls: ssl.SSLContext | bool
    backend_tls: ssl.SSLContext | None


class _Failure(Exception):
    """An unusable configuration; the text is the ``error`` of the log record."""


def check(config: ProxyConfig, records: Records) -> Ready:
    """Check the configuration. Raises :class:`CannotStart`."""
    identity = _bbs(config, records)
    _host_key(config, records)
    try:
        _algorithms(config)
        if config.enable_diego_auth and not config.diego_credentials:
            raise _Failure("diego_credentials is required for Diego authentication")
        uaa_tls, cc_tls = _platform(config)
    except _Failure as failure:
        records.write(ERROR, "configure-failed", error=str(failure))
        raise CannotStart(CONFIGURATION_STATUS) from failure
    try:
        backend_tls = backend_context(config)
    except _Failure as failure:
        records.write(ERROR, "failed-to-get-tls-config", error=str(failure))
        raise CannotStart(CONFIGURATION_STATUS) from failure
    return Ready(identity, uaa_tls, cc_tls, backend_tls)


def _bbs(config: ProxyConfig, records: Records) -> Identity:
    if not config.bbs_address:
        raise _fatal(records, "bbs-address-required", "bbsAddress is required")
    try:
        url = parse_url(config.bbs_address)
    except URLError as error:
        raise _fatal(records, "failed-to-parse-bbs-address", str(error)) from error
    message = "Failed to configure secure BBS client"
    if url.scheme != "https":
        raise _fatal(records, message, "Expected https URL")
    try:
        return Identity(
            IdentityFiles(
                ca_file=Path(config.bbs_ca_cert),
                cert_file=Path(config.bbs_client_cert),
                key_file=Path(config.bbs_client_key),
            )
        )
    except TLSConfigurationError as error:
        raise _fatal(records, message, str(error)) from error


def _host_key(config: ProxyConfig, records: Records) -> None:
    if not config.host_key:
        raise _fatal(records, "host-key-required", "hostKey is required")
    try:
        check_private_key(config.host_key)
    except KeyRejected as error:
        records.write(ERROR, "failed-to-parse-private-key", error=str(error))
        raise _fatal(records, "failed-to-parse-host-key", str(error)) from error


def _fatal(records: Records, message: str, error: str) -> CannotStart:
    records.write(FATAL, message, error=error)
    return CannotStart(FATAL_STATUS)


def _algorithms(config: ProxyConfig) -> None:
    """Check that every name in the lists is known: a list without an algorithm of the client locks it out."""
    for key, text, known in (
        ("allowed_ciphers", config.allowed_ciphers, KNOWN_CIPHERS),
        ("allowed_macs", config.allowed_macs, KNOWN_MACS),
        ("allowed_key_exchanges", config.allowed_key_exchanges, proxy_key_exchanges()),
    ):
        for word in unknown_names(text, known):
            names = ", ".join(sorted(name.decode() for name in known))
            raise _Failure(f'{key}: "{word}" is not known; known are {names}')


def _platform(config: ProxyConfig) -> tuple[ssl.SSLContext | bool, ssl.SSLContext | bool]:
    if not config.enable_cf_auth:
        return True, True
    for name, value in (
        ("ccAPIURL", config.cc_api_url),
        ("UAA password", config.uaa_password),
        ("UAA username", config.uaa_username),
        ("uaaTokenURL", config.uaa_token_url),
    ):
        if not value:
            raise _Failure(f"{name} is required for Cloud Foundry authentication")
    try:
        parse_url(config.uaa_token_url)
    except URLError as error:
        raise _Failure(str(error)) from error
    return (
        _trusting(config.uaa_ca_cert, config.skip_cert_verify),
        _trusting(config.cc_api_ca_cert, config.skip_cert_verify),
    )


def _trusting(ca_file: str, skip: bool) -> ssl.SSLContext | bool:
    """A context that trusts the system's authorities and those of a file."""
    if skip:
        return False
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cadata=Path(ca_file).read_text("ascii"))
        except ssl.SSLError as error:
            raise _Failure(f"failed to load ca cert: {ca_file}") from error
        except OSError as error:
            raise _Failure(f"failed to read ca cert file: open {ca_file}: {reason(error)}") from error
        except ValueError as error:
            raise _Failure(f"failed to load ca cert: {ca_file}") from error
    return context


def backend_context(config: ProxyConfig) -> ssl.SSLContext | None:
    if config.backends_tls_required and not config.backends_tls_enabled:
        raise _Failure("backends_tls_required needs backends_tls_enabled")
    if not config.backends_tls_enabled:
        return None
    ca_file = config.backends_tls_ca_certificates
    if not ca_file:
        raise _Failure("backend tls ca certificates must be specified if backend TLS is enabled")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=Path(ca_file).read_text("utf-8"))
    except ssl.SSLError as error:
        raise _Failure("Failed to parse backends_tls_ca_certificates") from error
    except OSError as error:
        raise _Failure(f"open {ca_file}: {reason(error)}") from error
    except ValueError as error:
        raise _Failure("Failed to parse backends_tls_ca_certificates") from error
    if config.backends_tls_client_certificate and config.backends_tls_client_private_key:
        try:
            context.load_cert_chain(
                config.backends_tls_client_certificate, config.backends_tls_client_private_key
            )
        except OSError as error:  # includes ssl.SSLError
            raise _Failure(f"backends_tls_client_certificate: {error}") from error
    return context
