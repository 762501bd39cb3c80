"""Keys over time: hand-over, revocation, passphrase, and what that means for what was signed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from clearance.errors import Refused, UsageError
from clearance.store.database import Batch
from clearance.trust import dsse
from clearance.trust.attest import Attestor
from clearance.trust.audit.log import ORDER, AuditLog, Note
from clearance.trust.audit.verify import verify
from clearance.trust.keyring import Keyring, accept_handover
from support.audit import House


def test_a_new_key_takes_over_and_the_old_signatures_stay_valid(tmp_path: Path):
    ring = Keyring(tmp_path)
    old = ring.current
    envelope = dsse.sign(b"before", [old])
    prepared = ring.prepare()
    assert ring.current.public.id == old.public.id
    ring.promote(prepared)
    assert ring.current.public.id == prepared.handover.new != old.public.id
    assert [each["state"] for each in ring.listed()] == ["signs", "retired"]
    assert dsse.verify(envelope, ring.trusted()) == b"before"
    assert Keyring(tmp_path).current.public.id == ring.current.public.id
    assert [path.name for path in (tmp_path / "trust").glob("*.key")] == ["installation.key"]
    assert (tmp_path / "trust" / "installation.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "trust" / "installation.pub").read_bytes() == ring.current.public.pem


def test_what_a_revoked_key_signed_is_not_trusted(tmp_path: Path):
    ring = Keyring(tmp_path)
    envelope = dsse.sign(b"before", [ring.current])
    with pytest.raises(UsageError, match="rotate"):
        ring.revocable(ring.current.public.id)
    old = ring.current.public.id
    ring.promote(ring.prepare())
    assert ring.revocable(old[:10]) == old
    ring.revoke(old)
    with pytest.raises(Refused):
        dsse.verify(envelope, ring.trusted())
    for wrong in ("", "zz"):
        with pytest.raises(UsageError):
            ring.revocable(wrong)


def test_a_handover_holds_only_between_these_keys(tmp_path: Path):
    ring, stranger = Keyring(tmp_path / "a"), Keyring(tmp_path / "b")
    said = msgspec.to_builtins(ring.prepare().handover)
    foreign = msgspec.to_builtins(stranger.prepare().handover)
    accepted = accept_handover(said, [ring.current.public])
    assert accepted is not None
    assert accepted.id == said["new"]
    for bad in (
        said | {"key": stranger.current.public.pem.decode()},
        said | {"new": stranger.current.public.id},
        said | {"by_old": foreign["by_old"]},
        said | {"by_new": foreign["by_new"]},
        said | {"by_new": said["by_old"]},
        said | {"more": 1},
        foreign,
        {},
    ):
        assert accept_handover(bad, [ring.current.public]) is None


def test_whoever_trusts_the_first_key_can_follow_the_log_to_the_newest(tmp_path: Path):
    house = House(f"sqlite:///{tmp_path / 'x.db'}", tmp_path)
    house.fill(3)
    first = house.attestor.public
    ring, old = house.attestor.ring, house.attestor.key
    prepared = ring.prepare()
    house.enter(Note("key.rotated", prepared.handover.new, "ann", msgspec.to_builtins(prepared.handover)))
    ring.promote(prepared)
    house.fill(3)

    def report(keys):
        entries = ((leaf, entry) for _, entry, leaf in house.reader.entries())
        return verify(entries, list(house.reader.checkpoints()), keys)

    assert report([first]).problems == ()
    assert report([first]).keys == (first.id, ring.current.public.id)
    assert [each.code for each in report([Keyring(tmp_path / "other").current.public]).problems][-1] == "no-checkpoint"
    house.enter(Note("key.revoked", first.id, "ann", {"key": first.id}))
    house.fill(1)
    assert report([first]).problems == ()
    stolen = Attestor(tmp_path / "thief")
    stolen.__dict__["ring"] = type("Stolen", (), {"current": old, "trusted": ring.trusted})()
    log = AuditLog(house.database, house.attestor)
    log._signer = stolen  # type: ignore[assignment]
    staged = log.stage([Note("policy.denied", "forged")], house.now + 1)
    assert staged is not None
    batch = Batch(ORDER)
    staged.put(batch)
    house.database.apply(batch, epoch=1)
    assert [each.code for each in report([first]).problems] == ["checkpoint-forged", "not-covered"]
    house.database.close()


def test_a_passphrase_protects_the_key_and_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ring = Keyring(tmp_path)
    id = ring.current.public.id
    assert not ring.is_protected
    ring.protect(b"correct horse")
    assert ring.is_protected
    with pytest.raises(Refused, match="CLEARANCE_KEY_PASSPHRASE"):
        _ = Keyring(tmp_path).current
    with pytest.raises(Refused, match="cannot be opened"):
        _ = Keyring(tmp_path, b"wrong").current
    monkeypatch.setenv("PASS", "correct horse")
    attestor = Attestor(tmp_path, "env:PASS")
    assert attestor.key_id == id
    attestor.ring.promote(attestor.ring.prepare())
    assert attestor.ring.is_protected
