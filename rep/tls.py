"""Requirements on the admin listener's certificate, beyond ``bbs.client.tls``."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from cryptography import x509

from bbs.client.tls import TLSConfigurationError, own_certificate

LOOPBACK = ipaddress.ip_address("127.0.0.1")


def check_admin_certificate(cert_file: Path) -> None:
    """The certificate must contain the IP address 127.0.0.1. Raises TLSConfigurationError."""
    try:
        extension = own_certificate(cert_file).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        addresses = extension.value.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        addresses = []
    if LOOPBACK not in addresses:
        raise TLSConfigurationError(f"{cert_file} has no IP subject alternative name 127.0.0.1")
