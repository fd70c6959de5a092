"""Mutual TLS of the Locket server; every handshake uses the current files."""

from __future__ import annotations

import logging

import grpc

from bbs.client.identity import IdentityFiles
from bbs.client.tls import TLSConfigurationError, server_context

logger = logging.getLogger(__name__)


def locket_credentials(files: IdentityFiles) -> grpc.ServerCredentials:
    """Credentials that follow changes of the files. Raises OSError, TLSConfigurationError."""
    seen = files.fingerprint()
    current = _configuration(files)

    def newest() -> grpc.ServerCertificateConfiguration:
        """gRPC calls this before each handshake, on a separate thread."""
        nonlocal seen, current
        now = files.fingerprint()
        if now == seen:
            return current
        seen = now
        try:
            current = _configuration(files)
        except (OSError, TLSConfigurationError) as error:
            data = {"certificate": str(files.cert_file), "error": str(error)}
            logger.error("locket.tls-identity-not-renewed", extra={"data": data})
        return current

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        current, newest, require_client_authentication=True
    )
    return credentials


def _configuration(files: IdentityFiles) -> grpc.ServerCertificateConfiguration:
    # gRPC accepts invalid PEM data and then fails every handshake, so validate the files first.
    server_context(files.ca_file, files.cert_file, files.key_file)
    return grpc.ssl_server_certificate_configuration(
        [(files.key_file.read_bytes(), files.cert_file.read_bytes())],
        root_certificates=files.ca_file.read_bytes(),
    )
