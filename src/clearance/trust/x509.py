"""A small certificate authority of this installation, for TLS on loopback only.

Rules (RFC 5280, CA/Browser Forum's baseline where it applies to a private authority):

1. The authority's certificate may sign certificates and nothing else, may have no authority below it, and is
   constrained to `localhost`, 127.0.0.0/8 and ::1: whoever steals its key can impersonate no other host.
2. A server's certificate names `localhost`, 127.0.0.1 and ::1, serves TLS servers only, lives `SERVER_DAYS` days, and
   is made anew once less than a third of that is left; the authority's own, once it would end before a server's.
3. Keys are ECDSA on P-256, made here, never leave the machine. The authority's key is not the signing key.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clearance.trust.keys import private_key, trust_directory, write_whole

AUTHORITY_DAYS = 5 * 365
SERVER_DAYS = 90
_SKEW = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class ServerFiles:
    """Paths of a server's certificate chain, its private key (0600), and the authority to trust (all PEM)."""

    certificate: Path
    key: Path
    authority: Path


def authority_file(home: Path) -> Path:
    """Returns where the authority's certificate lies."""
    return home / "trust" / "authority.pem"


def server_files(home: Path, directory: Path, now: datetime.datetime) -> ServerFiles:
    """Returns a valid certificate for a server on loopback, made or renewed as needed.

    Args:
        home: of the installation, whose authority signs.
        directory: where the certificate and its key lie; exists.
        now: aware time that validity is judged by.

    Raises:
        Refused: others may read a key.
        StoreError: the files cannot be written.
    """
    authority_key, authority = _authority(home, now)
    files = ServerFiles(directory / "server.pem", directory / "server.key", authority_file(home))
    key = private_key(files.key)
    if not _good(files.certificate, key, authority, now):
        write_whole(files.certificate, _issue(key, authority, authority_key, now), 0o644)
    return files


def _authority(home: Path, now: datetime.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    trust_directory(home)
    key = private_key(home / "trust" / "authority.key")
    path = authority_file(home)
    if path.exists():
        found = x509.load_pem_x509_certificate(path.read_bytes())
        if found.public_key() == key.public_key() and (
            found.not_valid_before_utc <= now
            and found.not_valid_after_utc - now > datetime.timedelta(days=SERVER_DAYS + 1)
        ):
            return key, found
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Clearance loopback authority")])
    loopback = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
        x509.IPAddress(ipaddress.ip_network("::1/128")),
    ]
    made = (
        authority_of(name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.NameConstraints(loopback, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_whole(path, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return key, made


def _issue(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> bytes:
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _good(path: Path, key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, now: datetime.datetime) -> bool:
    if not path.exists():
        return False
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        found.verify_directly_issued_by(authority)
    except Exception:  # whatever is wrong with it, it is made anew
        return False
    left = found.not_valid_after_utc - now
    return (
        found.public_key() == key.public_key()
        and found.not_valid_before_utc <= now
        and left > datetime.timedelta(days=SERVER_DAYS) / 3
    )


def authority_of(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    """Returns what the certificate of an authority of ours has, which issues for others and for no authority below.

    Args:
        name: its own, and its issuer's.
        key: its own.
        now: it is valid from a little earlier.
        days: for so long.
    """
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def usage(certificates: bool) -> x509.KeyUsage:
    """Returns the key usage of an authority, or of what signs anything but certificates."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
