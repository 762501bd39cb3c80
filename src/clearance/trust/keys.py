"""The installation's signing key: ECDSA on P-256, made at first use, kept in a file that its owner alone reads.

Rules:

1. `home/trust` has mode 0700; the private key (PKCS#8 PEM) 0600, encrypted where a passphrase is given. A key that
   others may read is refused.
2. Two processes that make the key at once end with the same key: it appears whole, by an exclusive link.
3. The id of a key is the SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal.
4. The hash that is signed goes with the curve: SHA-256, 384, 512 for P-256, 384, 521 (FIPS 186-5).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clearance.errors import Refused, StoreError
from clearance.store.blobs import sync_directory

_HASHES: dict[int, type[hashes.HashAlgorithm]] = {256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}


class PublicKey:
    """A key that verifies."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self._algorithm = _algorithm(key.curve)

    @cached_property
    def der(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def pem(self) -> bytes:
        """SubjectPublicKeyInfo, PEM."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @cached_property
    def id(self) -> str:
        """SHA-256 of the DER, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """True when the signature (ASN.1 DER of r and s) is this key's over the data."""
        try:
            self._key.verify(signature, data, self._algorithm)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A key that signs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._algorithm = _algorithm(key.curve)
        self.public = PublicKey(key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Returns the signature over the data: ASN.1 DER of r and s."""
        return self._key.sign(data, self._algorithm)

    def private_pem(self, passphrase: bytes | None = None) -> bytes:
        """Returns the private key, PKCS#8 in PEM, encrypted where a passphrase is given."""
        return _private_pem(self._key, passphrase)


def trust_directory(home: Path) -> Path:
    """Returns `home/trust`, made with mode 0700 when missing.

    Raises:
        Refused: others may enter it.
    """
    directory = home / "trust"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        raise Refused(f"others may enter {directory}, which holds keys: chmod 700 {directory}")
    return directory


def installation_key(home: Path, passphrase: bytes | None = None) -> SigningKey:
    """Returns the key of the installation in `home`, made at first use; its public half lies beside it.

    Raises:
        Refused: others may read the key, the file holds something else, or the passphrase is not its.
    """
    directory = trust_directory(home)
    key = SigningKey(private_key(directory / "installation.key", passphrase))
    public = public_key_file(home)
    if not public.exists() or public.read_bytes() != key.public.pem:
        write_whole(public, key.public.pem, 0o644)
    return key


def public_key_file(home: Path) -> Path:
    """Returns where the installation's public key lies (PEM)."""
    return home / "trust" / "installation.pub"


def new_key() -> ec.EllipticCurvePrivateKey:
    """Returns a fresh key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Loads a private key, or makes one on P-256 when there is no file.

    Raises:
        Refused: others may read it, it is not ours, it is no elliptic-curve key, or the passphrase is not its.
    """
    if not os.path.lexists(path):
        with contextlib.suppress(FileExistsError):
            write_whole(path, _private_pem(new_key(), passphrase), 0o600, replace=False)
    key = parse_private_key(read_secret(path), passphrase, str(path))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Refused(f"{path} holds no elliptic-curve key: restore it, or move it away to get a new one")
    return key


def parse_private_key(pem: bytes, passphrase: bytes | None, where: str) -> object:
    """Reads a private key of any kind, PEM.

    Raises:
        Refused: there is none, or the passphrase is not its.
    """
    locked = b"ENCRYPTED" in pem
    if locked and passphrase is None:
        raise Refused(f"the key {where} has a passphrase: say where it is with CLEARANCE_KEY_PASSPHRASE")
    try:
        return serialization.load_pem_private_key(pem, passphrase if locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "cannot be opened with this passphrase" if locked else "holds no private key"
        raise Refused(f"{where} {what}: {error}; restore it, or move it away to get a new one") from None


def encrypted(path: Path) -> bool:
    """True when the private key in a file needs a passphrase."""
    return b"ENCRYPTED" in read_secret(path)


def _private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )


def load_public_key(path: Path) -> PublicKey:
    """Reads a public key.

    Raises:
        Refused: no elliptic-curve public key in PEM.
    """
    try:
        return parse_public_key(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot read the public key {path}: {error.strerror}") from None


def parse_public_key(pem: bytes) -> PublicKey:
    """Reads a public key in PEM.

    Raises:
        Refused: no elliptic-curve public key on P-256, P-384 or P-521.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise Refused(f"this is no public key in PEM: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused("this is no elliptic-curve public key: use one on P-256, P-384 or P-521")
    return PublicKey(key)


def write_whole(path: Path, data: bytes, mode: int, replace: bool = True) -> None:
    """Writes a small file that appears whole, with its mode, and survives a power cut.

    Raises:
        FileExistsError: it exists and must not be replaced.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(6).hex()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if replace:
            temporary.rename(path)
        else:
            os.link(temporary, path)
        sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_secret(path: Path) -> bytes:
    """Reads a file that only its owner, who is this user, may read.

    Raises:
        Refused: others may read it, it is not ours, or it is a symbolic link.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise Refused(f"cannot read the secret {path}: {reason}") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise Refused(f"the secret {path} is not a file of this user: chown it, or move it away")
        if found.st_mode & 0o077:
            raise Refused(f"others may read the secret {path}: chmod 600 {path}, and replace it if they did")
        return file.read()


def _algorithm(curve: ec.EllipticCurve) -> ec.ECDSA:
    if curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise Refused(f"a key on the curve {curve.name} is not accepted: use P-256, P-384 or P-521")
    return ec.ECDSA(_HASHES[curve.key_size]())
