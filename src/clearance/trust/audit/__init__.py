"""The audit log: what was decided and what was signed, in a Merkle tree that nobody can edit unnoticed.

Rules:

1. An entry is written in the transaction that makes it true, under the controller's lease: two controllers cannot
   fork the log, and nothing happens that the log does not say.
2. Hashes are those of RFC 6962 (leaf 0x00, node 0x01). A signed checkpoint covers an entry in the same transaction.
   Routine ones alone (a run was submitted, a result was signed) may wait for it: a tenth of a second where the key is
   loaded, else until it is, and never beyond the controller's end.
3. Whoever holds the public key verifies an exported file with nothing else: `verify` names the entry that was edited,
   dropped or moved.
4. A clock that stands before the newest entry is refused.
"""
