"""What a person asks of a result: what it is, whether it can be believed, and its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clearance.errors import ClearanceError, StoreError, UsageError
from clearance.run.evidence import MODEL_SIGNATURE, PROVENANCE
from clearance.run.look import views
from clearance.run.look.cards import cards_of
from clearance.settings import Settings
from clearance.store import tree
from clearance.store.blobs import Blobs, open_blobs
from clearance.store.database import Database
from clearance.store.serializers import reachable
from clearance.types.artifact import Artifact
from clearance.types.card import Card
from clearance.types.digest import digest_of
from clearance.types.states import TaskState

TREES = ("tree", "dataset", "model")


def describe(settings: Settings, database: Database, run: str, task: str) -> dict[str, Any]:
    """Returns what is known of a result, or of what a task that failed has left.

    Digest, size, files of a tree, attestations and their signers, and the state of the task.

    Raises:
        UsageError: no such run or task, or it has no result.
    """
    _, instance, artifact = views.artifact(database, run, task)
    blobs = open_blobs(settings.blobs)
    files = []
    if artifact.serializer in TREES:
        manifest = tree.decode(_content(artifact, blobs))
        files = [{"path": each.path, "size": each.size, "digest": each.digest} for each in manifest.entries]
    attestations = [
        {"kind": kind, "signer": _signer(bytes(envelope)), "created_at": at}
        for kind, _, _, envelope, at in database.rows("attestations", artifact.digest)
    ]
    return {
        "run": run, "task": instance.label, "state": instance.state,
        "type": artifact.type, "serializer": artifact.serializer,
        "size": artifact.size, "digest": artifact.digest, "metadata": artifact.metadata, "files": files,
        "cards": [{"kind": type(card).__name__.lower()} for card in cards_of(artifact, blobs)],
        "attestations": attestations,
    }  # fmt: skip


def cards(settings: Settings, database: Database, run: str, task: str) -> list[Card]:
    """Returns the cards that a task returned or showed; none where there are none.

    Raises:
        UsageError: no such run or task, or it has no result.
    """
    _, _, artifact = views.artifact(database, run, task)
    return cards_of(artifact, open_blobs(settings.blobs))


def verify(settings: Settings, database: Database, run: str, task: str) -> list[dict[str, Any]]:
    """Checks a result: its bytes against their digests, each attestation against the installation's key.

    Returns:
        `what`, `holds` and `detail` of each check.
    """
    from clearance.trust.attest import Attestor

    _, instance, artifact = views.artifact(database, run, task)
    blobs = open_blobs(settings.blobs)
    attestor = Attestor(settings.home, settings.key_passphrase)
    checks = [_checked("bytes", lambda: _verify_bytes(artifact, blobs))]
    found = database.rows("attestations", artifact.digest)
    again = {kind for kind, _, _, stored, _ in found if not attestor.ring.names_revoked(bytes(stored))}
    for kind, _, _, stored, _ in found:
        envelope = bytes(stored)
        if kind in again and attestor.ring.names_revoked(envelope):
            continue  # it was made again since, and signed by another key
        if kind == PROVENANCE:
            checks.append(_checked(kind, lambda e=envelope: _builder(attestor.verify(e, artifact.digest))))
        elif kind == MODEL_SIGNATURE:
            checks.append(_checked(kind, lambda e=envelope: _verify_model(attestor, e, artifact, blobs)))
    if instance.state == TaskState.FAILED and not found:
        checks.append({"what": PROVENANCE, "holds": False, "detail": "what a failed task has left is not attested"})
    elif not any(row[0] == PROVENANCE for row in found):
        checks.append({"what": PROVENANCE, "holds": False, "detail": "there is none: clear the task and run it again"})
    if artifact.serializer == "model" and not any(row[0] == MODEL_SIGNATURE for row in found):
        checks.append({"what": MODEL_SIGNATURE, "holds": False, "detail": "there is none"})
    return checks


def fetch(settings: Settings, database: Database, run: str, task: str, output: Path | None) -> bytes | Path | None:
    """Returns the serialised bytes of a plain result, or writes files to `output` and returns it.

    A fetched model has its signature beside it, as `NAME.sig`, in OpenSSF Model Signing format.

    Raises:
        UsageError: `output` is there already.
    """
    _, _, artifact = views.artifact(database, run, task)
    blobs = open_blobs(settings.blobs)
    if artifact.serializer not in (*TREES, "file"):
        data = _content(artifact, blobs)
        if output is None:
            return data
        _refuse_existing(output)
        output.write_bytes(data)
        return output
    if output is None:
        return None
    _refuse_existing(output)
    if artifact.serializer == "file":
        blobs.materialise(artifact.digest, output)
        return output
    tree.materialise_tree(tree.decode(_content(artifact, blobs)), blobs, output)
    for kind, _, _, envelope, _ in database.rows("attestations", artifact.digest):
        if kind == MODEL_SIGNATURE:
            output.with_name(output.name + ".sig").write_bytes(bytes(envelope))
    return output


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise UsageError(f"{output} is there already: choose another --output")


def _content(artifact: Artifact, blobs: Blobs) -> bytes:
    return artifact.inline if artifact.inline is not None else blobs.get_bytes(artifact.digest)


def _verify_bytes(artifact: Artifact, blobs: Blobs) -> str:
    if artifact.inline is not None and digest_of(artifact.inline) != artifact.digest:
        raise StoreError(f"the stored bytes have digest {digest_of(artifact.inline)}")
    digests = reachable(artifact, blobs)
    for digest in digests:
        with blobs.open(digest) as stream:
            while stream.read(1 << 20):
                pass
    return f"{artifact.digest}, {len(digests)} blobs" if digests else artifact.digest


def _verify_model(attestor: Any, bundle: bytes, artifact: Artifact, blobs: Blobs) -> str:
    signed = attestor.verify_model(bundle, tree.decode(_content(artifact, blobs)))
    return f"OpenSSF Model Signing, {len(signed.files)} files, key {attestor.key_id[:16]}"


def _builder(provenance: Any) -> str:
    definition = provenance.buildDefinition.externalParameters
    return f"{definition.dag} {definition.task} by {provenance.runDetails.builder.id}"


def _checked(what: str, check: Any) -> dict[str, Any]:
    try:
        return {"what": what, "holds": True, "detail": check()}
    except ClearanceError as error:
        return {"what": what, "holds": False, "detail": str(error)}


def _signer(envelope: bytes) -> str:
    """The key id that an envelope names; `artifact verify` says whether it is true."""
    import msgspec

    content = msgspec.json.decode(envelope)
    content = content.get("dsseEnvelope", content)
    return ", ".join(str(each.get("keyid") or "this installation") for each in content.get("signatures", ()))
