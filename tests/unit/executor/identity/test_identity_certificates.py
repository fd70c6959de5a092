"""Contents of instance certificates, compared with a recorded one, and their renewal times."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from executor.identity.authority import Authority, IdentityError, private_pem, utc_now
from executor.identity.keys import GENERATORS
from executor.identity.profile import (
    CertificateProfile,
    identity_profile,
    renewal_delay_s,
)
from executor.model import Container

pytestmark = pytest.mark.unit

Instance = Callable[..., Container]
DAY = timedelta(days=1)
_OPENSSL_NAMES = {NameOID.ORGANIZATIONAL_UNIT_NAME: "OU", NameOID.COMMON_NAME: "CN"}


def issue(authority: Authority, profile: CertificateProfile) -> list[x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.load_pem_x509_certificates(authority.issue(profile, key, now=utc_now(), validity=DAY))


def openssl_subject(certificate: x509.Certificate) -> str:
    names = (
        " + ".join(f"{_OPENSSL_NAMES[part.oid]} = {part.value!s}" for part in name)
        for name in certificate.subject.rdns
    )
    return f"subject={', '.join(names)}"


def test_a_certificate_is_the_recorded_one(
    authority: Authority, instance: Instance, golden: Callable[[str], Path]
) -> None:
    lines = json.loads(golden("instance-identity.json").read_text())["lines"]
    container = instance(
        guid="00433285-b07b-4a67-5cde-49ea",
        units=("organization:o-1", "space:s-1", "app:a-1"),
        routes=("app.apps.internal",),
    )
    leaf, ca = issue(authority, identity_profile(container))
    assert openssl_subject(leaf) == lines[1]
    assert f"issuer=CN = {leaf.issuer.rdns[0].rfc4514_string().removeprefix('CN=')}" == lines[2]
    assert leaf.issuer == ca.subject
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == DAY
    assert 0 < leaf.serial_number < 1 << 128
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert [
        name
        for name in ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
        if getattr(usage.value, name)
    ] == ["digital_signature", "key_encipherment", "key_agreement"]
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert [*extended.value] == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extended.critical
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [dns], [address] = names.get_values_for_type(x509.DNSName), names.get_values_for_type(x509.IPAddress)
    assert lines[11].strip() == f"DNS:{dns}, IP Address:{address}"


def test_every_certificate_has_a_serial_of_its_own(authority: Authority, instance: Instance) -> None:
    profile = identity_profile(instance())
    assert issue(authority, profile)[0].serial_number != issue(authority, profile)[0].serial_number


def test_an_issued_certificate_can_be_verified(authority: Authority, instance: Instance) -> None:
    leaf, ca = issue(authority, identity_profile(instance()))
    leaf.verify_directly_issued_by(ca)
    named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert named == ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def test_a_container_without_an_address_of_its_own_has_the_hosts(instance: Instance) -> None:
    assert identity_profile(instance()).addresses == ("10.254.0.2",)
    assert identity_profile(instance(internal_ip="")).addresses == ("192.0.2.9",)
    assert identity_profile(instance(internal_ip="", external_ip="")).addresses == ()


def test_a_long_guid_is_whole_in_the_alternative_name(authority: Authority, instance: Instance) -> None:
    guid = "t" * 100
    leaf, _ = issue(authority, identity_profile(instance(guid=guid)))
    [name] = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "t" * 64
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [guid]


def test_a_name_no_certificate_can_carry_is_an_error(authority: Authority, instance: Instance) -> None:
    with pytest.raises(IdentityError, match="certificate of instance ü: "):
        issue(authority, identity_profile(instance(guid="ü")))


@pytest.mark.parametrize(
    ("kind", "head", "size"),
    [("rsa", b"-----BEGIN RSA PRIVATE KEY-----", 3072), ("ecdsa", b"-----BEGIN EC PRIVATE KEY-----", 256)],
)
def test_keys_have_their_traditional_form(kind: str, head: bytes, size: int) -> None:
    pem = private_pem(GENERATORS[kind]())
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    assert pem.startswith(head)
    assert key.key_size == size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda crt, key, other: ("/no/such", key), "CA /no/such: No such file"),
        (lambda crt, key, other: (key, key), "no PEM certificate"),
        (lambda crt, key, other: (crt, "/no/such"), "CA key /no/such: No such file"),
        (lambda crt, key, other: (crt, crt), "no unencrypted PEM key"),
        (lambda crt, key, other: (crt, other), "is not the private key of"),
    ],
)
def test_an_authority_that_cannot_be_used(
    ca_files: tuple[str, str],
    tmp_path: Path,
    change: Callable[[str, str, str], tuple[str, str]],
    message: str,
) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(IdentityError, match=message):
        Authority.load(*change(*ca_files, str(other)))


HOUR = 3600.0


@pytest.mark.parametrize(
    ("validity_s", "latest_s"),
    [(24 * HOUR, 23.5 * HOUR), (4 * HOUR + 1, 3.5 * HOUR + 1), (4 * HOUR, 3.5 * HOUR), (80.0, 70.0)],
)
def test_renewal_is_half_an_hour_or_an_eighth_before_the_end(validity_s: float, latest_s: float) -> None:
    assert renewal_delay_s(validity_s, 0) == latest_s


@given(st.floats(1, 1e7), st.floats(0, 1, exclude_max=True))
def test_jitter_only_moves_a_renewal_a_little_earlier(validity_s: float, jitter: float) -> None:
    latest = renewal_delay_s(validity_s, 0)
    delay = renewal_delay_s(validity_s, jitter)
    assert 0 < delay <= latest < validity_s
    assert latest - delay <= (validity_s - latest) / 3 + 1e-6
