"""Certificates for the recorded cases: a CA, an unrelated one, a server's and a client's key pair."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def write_certificates(folder: Path) -> None:
    """Fill a folder that every user may read."""
    for name in ("good", "other"):
        (folder / name).mkdir()
    authority = _issue("ca", None)
    other = _issue("other", None)
    _write(folder / "ca", authority)
    _write(folder / "good/x", authority)
    _write(folder / "other/o", other)
    _write(folder / "server", _issue("server", authority))
    _write(folder / "client", _issue("client", authority))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _issue(name: str, issuer: _Pair | None) -> _Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(local, critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _write(path: Path, pair: _Pair) -> None:
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path.with_suffix(".crt").write_bytes(pair[0].public_bytes(pem))
    key = pair[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    if path.name in ("server", "client"):
        path.with_suffix(".key").write_bytes(key)
