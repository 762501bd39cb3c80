"""The small authority of an installation, which certifies who signs: `clearance trust init-ca`.

Rules:

1. It certifies people and workloads of this installation and has no authority below it (path length 0).
2. A certificate says who somebody is by one URI (`clearance://INSTALLATION/user/NAME`), is for signing code (and, where
   asked, for authenticating a client), and lives 90 days unless said otherwise.
3. What is revoked stands in a list that the authority signs, valid for 30 days; `home/trust/ca` holds all of it. The
   authority's key signs nothing else: it is neither the installation's nor that of TLS on loopback.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clearance.errors import UsageError
from clearance.trust.certificates import CLIENT, CODE_SIGNING, Authorities, load_certificates, load_revocations
from clearance.trust.keys import SigningKey, new_key, private_key, trust_directory, write_whole
from clearance.trust.x509 import authority_of, usage

AUTHORITY_DAYS = 10 * 365
CERTIFICATE_DAYS = 90
REVOCATION_DAYS = 30
_SKEW = datetime.timedelta(minutes=5)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}\Z")


@dataclass(frozen=True)
class Issued:
    """A new certificate: where its chain and its private key (0600) lie, both PEM, and whom it names."""

    certificate: Path
    key: Path
    identity: str
    serial: int
    until: datetime.datetime


class Authority:
    """The authority in a home.

    Args:
        home: of the installation.
        passphrase: of its private key; None where the file is protected by its mode alone.
    """

    def __init__(self, home: Path, passphrase: bytes | None = None) -> None:
        self._directory = trust_directory(home) / "ca"
        self._passphrase = passphrase

    @property
    def certificate_file(self) -> Path:
        """The root that verifiers trust, PEM."""
        return self._directory / "ca.pem"

    @property
    def revocations_file(self) -> Path:
        """The list of what is revoked, PEM."""
        return self._directory / "revoked.pem"

    @property
    def exists(self) -> bool:
        """True once it was made."""
        return self.certificate_file.exists()

    def make(self, name: str, now: datetime.datetime) -> x509.Certificate:
        """Makes the authority.

        Args:
            name: its common name.
            now: aware time from which it is valid.

        Raises:
            UsageError: there is one already.
        """
        if self.exists:
            raise UsageError(f"{self.certificate_file} is there already: certificates that it issued would be void")
        self._directory.mkdir(mode=0o700, exist_ok=True)
        key = private_key(self._directory / "ca.key", self._passphrase)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = authority_of(subject, key, now, AUTHORITY_DAYS).sign(key, hashes.SHA256())
        self._write_revocations(made, key, [], now)
        write_whole(self.certificate_file, _pem(made), 0o644)
        return made

    def issue(
        self, name: str, kind: str, now: datetime.datetime, days: int = CERTIFICATE_DAYS, client: bool = False
    ) -> Issued:
        """Issues a certificate with a key of its own.

        Args:
            name: of the user or workload.
            kind: `user` or `workload`.
            now: aware time from which it is valid.
            days: how long.
            client: it may authenticate a client too.

        Raises:
            UsageError: no authority was made, or the name is none.
        """
        root, key = self._loaded()
        if not _NAME.match(name):
            raise UsageError(f"{name!r} is no name for a certificate: use up to 63 letters, digits and . _ @ -")
        own = new_key()
        identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identity = f"clearance://{identifier.digest.hex()[:16]}/{kind}/{name}"
        until = min(now + datetime.timedelta(days=days), root.not_valid_after_utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(root.subject)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([CODE_SIGNING, CLIENT] if client else [CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder = self._directory / "issued"
        folder.mkdir(mode=0o700, exist_ok=True)
        stem = f"{name}-{made.serial_number:x}"
        files = folder / f"{stem}.pem", folder / f"{stem}.key"
        write_whole(files[1], SigningKey(own).private_pem(), 0o600)
        write_whole(files[0], _pem(made), 0o644)
        return Issued(files[0], files[1], identity, made.serial_number, until)

    def revoke(self, serial: int, now: datetime.datetime) -> None:
        """Revokes a certificate that was issued.

        Raises:
            UsageError: none of this serial number was.
        """
        root, key = self._loaded()
        if not any(each.serial_number == serial for each in self.issued()):
            raise UsageError(f"no certificate {serial:x} was issued: see `clearance trust certificate list`")
        known = {each.serial_number: each.revocation_date_utc for each in load_revocations(self.revocations_file)}
        known.setdefault(serial, now)
        self._write_revocations(root, key, list(known.items()), now)

    def refresh(self, now: datetime.datetime) -> None:
        """Signs the list of what is revoked anew, for another 30 days."""
        root, key = self._loaded()
        known = [(each.serial_number, each.revocation_date_utc) for each in load_revocations(self.revocations_file)]
        self._write_revocations(root, key, known, now)

    def issued(self) -> list[x509.Certificate]:
        """Returns every certificate that was issued."""
        return [load_certificates(file)[0] for file in sorted((self._directory / "issued").glob("*.pem"))]

    def authorities(self) -> Authorities:
        """Returns what verifiers need: the root and what is revoked.

        Raises:
            UsageError: no authority was made.
        """
        if not self.exists:
            raise UsageError("this installation has no authority: run `clearance trust init-ca`, or give a root")
        return Authorities(tuple(load_certificates(self.certificate_file)), (load_revocations(self.revocations_file),))

    def _loaded(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        if not self.exists:
            raise UsageError("this installation has no authority: run `clearance trust init-ca`")
        return load_certificates(self.certificate_file)[0], private_key(self._directory / "ca.key", self._passphrase)

    def _write_revocations(
        self,
        root: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        revoked: list[tuple[int, datetime.datetime]],
        now: datetime.datetime,
    ) -> None:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(root.subject)
            .last_update(now - _SKEW)
            .next_update(now + datetime.timedelta(days=REVOCATION_DAYS))
        )
        for serial, at in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            builder = builder.add_revoked_certificate(entry)
        made = builder.sign(key, hashes.SHA256())
        write_whole(self.revocations_file, made.public_bytes(serialization.Encoding.PEM), 0o644)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
