"""The attestor: signs what came out of tasks with the installation's key, and verifies it again.

The key, and cryptography with it, is loaded at the first signature or verification.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clearance.trust import provenance, statement
from clearance.trust.provenance import Facts, Provenance
from clearance.types.artifact import Artifact
from clearance.types.digest import Digest
from clearance.types.secret import Secret

if TYPE_CHECKING:
    from clearance.store.tree import Manifest
    from clearance.trust.keyring import Keyring
    from clearance.trust.keys import PublicKey, SigningKey
    from clearance.trust.oms import SignedModel


class Attestor:
    """Signs and verifies with the key of one installation.

    Args:
        home: of the installation; its key lies in `home/trust` and is made at first use.
        passphrase: reference to the passphrase of the key (`types.secret`); empty for none.
    """

    def __init__(self, home: Path, passphrase: str = "") -> None:
        self._home = Path(home)
        self._passphrase = passphrase

    @cached_property
    def ring(self) -> Keyring:
        """The keys of the installation."""
        from clearance.trust.keyring import Keyring

        secret = Secret.parse(self._passphrase).reveal().encode() if self._passphrase else None
        return Keyring(self._home, secret)

    @property
    def ready(self) -> bool:
        """True once the keys were needed."""
        return "ring" in self.__dict__

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return self.ring.current

    def verifiers(self) -> list[PublicKey]:
        """Returns the keys whose signatures count: the one that signs, and those before it that are not revoked."""
        return self.ring.trusted()

    @property
    def public(self) -> PublicKey:
        """The key that verifies what is signed now."""
        return self.key.public

    @property
    def key_id(self) -> str:
        """SHA-256 of the public key's DER, in hexadecimal."""
        return self.key.public.id

    @property
    def public_key_file(self) -> Path:
        """Path of the public key (PEM), for other tools; made when missing."""
        from clearance.trust.keys import public_key_file

        _ = self.key
        return public_key_file(self._home)

    def attest(self, artifact: Artifact | Digest, facts: Facts) -> bytes:
        """Returns a DSSE envelope with the SLSA provenance of an artifact.

        Raises:
            Refused: others may read the key.
        """
        from clearance.trust import dsse

        digest = artifact.digest if isinstance(artifact, Artifact) else artifact
        subject = provenance.subject_of(facts, digest)
        payload = statement.encode((subject,), provenance.PREDICATE, provenance.provenance(facts))
        return dsse.sign(payload, [self.key])

    def verify(self, envelope: bytes, digest: Digest) -> Provenance:
        """Returns what a provenance envelope says of an artifact.

        Raises:
            Refused: changed, signed by another key, or about another artifact.
        """
        from clearance.trust import dsse

        payload = dsse.verify(envelope, self.verifiers())
        subjects, predicate = statement.decode(payload, provenance.PREDICATE, Provenance)
        statement.require_subject(subjects, digest)
        return predicate

    def sign_model(self, name: str, manifest: Manifest) -> bytes:
        """Returns an OpenSSF Model Signing bundle over the files of a model; no file is read.

        Raises:
            Refused: the model has no files, or others may read the key.
        """
        from clearance.trust import oms

        return oms.sign(name, oms.files_of(manifest), self.key)

    def verify_model(self, bundle: bytes, manifest: Manifest) -> SignedModel:
        """Checks that a bundle of this installation signs exactly these files.

        Raises:
            Refused: as `oms.verify_files` says.
        """
        from clearance.trust import oms

        return oms.verify_files(bundle, oms.key_of(bundle, self.verifiers()), oms.files_of(manifest))
