"""OpenSSF Model Signing v1.0: a signature over the digests of all files of a model.

Source: https://github.com/ossf/model-signing-spec (schemas v1.0). A bundle is a Sigstore bundle v0.3 that holds a
DSSE envelope with an in-toto statement: one resource a file, sorted by name, and a subject whose digest is the SHA-256
over the resources' digests in that order. Rules:

1. Whoever verifies says whom they trust: a key, the roots of certificates and an identity, or a Sigstore identity.
   What travels with the model says at most which of them is meant.
2. Every file of the model is signed, and nothing else is there. What the signer left out (`ignore_paths`) counts as
   unsigned, unless the verifier leaves it out too. Names are plain relative paths; links and devices are refused.
3. Only whole files by SHA-256 are accepted (`files`). The format's root digest leaves out names: the statement's list
   is what is compared, never the root alone.
4. Two signatures are two bundles. A bundle is written from known digests: no file is read to sign what is stored.

Bundles of the reference signer v0.3.1, v1.0.0 and v1.1.0 verify: by key (which the first two carry, and the last names
by a hint), by certificate, and keyless, offline (extra `trust`).
"""

from clearance.trust.oms.format import IGNORED, MEDIA_TYPE, PREDICATE, SignedModel
from clearance.trust.oms.hashing import hash_model
from clearance.trust.oms.signing import files_of, sign
from clearance.trust.oms.verifying import Certified, Keyless, key_of, verify, verify_files, verify_path

__all__ = [
    "IGNORED",
    "MEDIA_TYPE",
    "PREDICATE",
    "Certified",
    "Keyless",
    "SignedModel",
    "files_of",
    "hash_model",
    "key_of",
    "sign",
    "verify",
    "verify_files",
    "verify_path",
]
