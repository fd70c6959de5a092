"""Contents and renewal times of instance certificates. Pure.

Peers use the contents: routers and back ends verify the subject alternative names, and platform services read
the organizational units.
"""

from __future__ import annotations

from dataclasses import dataclass

from executor.model import Container

_HOUR_S = 3600.0
_LONG_VALIDITY_S = 4 * _HOUR_S
_LONG_LEAD_S = _HOUR_S / 2
_SHORT_LEAD = 1 / 8
_JITTER = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProfile:
    """Subject and alternative names of one certificate.

    addresses: IP addresses in text form. All organizational units share one multi-valued name.
    """

    common_name: str
    organizational_units: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def identity_profile(container: Container) -> CertificateProfile:
    """Profile of the instance's own certificate: its guid, and its address for others."""
    return CertificateProfile(
        common_name=container.guid,
        organizational_units=container.run_info.certificate_properties.organizational_unit,
        dns_names=(container.guid,),
        addresses=tuple(filter(None, (container.internal_ip or container.external_ip,))),
    )


def renewal_delay_s(validity_s: float, jitter: float) -> float:
    """Seconds from the issue of a certificate to its renewal.

    The lead is the time between renewal and expiry: 30 min for certificates valid for more than 4 h, else 1/8
    of the validity. jitter: from 0 to 1; extends the lead by up to a third, so that instances that started
    together renew at different times.
    """
    lead = _LONG_LEAD_S if validity_s > _LONG_VALIDITY_S else validity_s * _SHORT_LEAD
    return validity_s - lead * (1 + _JITTER * jitter)
