"""The log on a real database: what is committed, what is not, and who may go on with it."""

from __future__ import annotations

import pytest

from clearance.errors import LeaseLost, Refused
from clearance.store.database import LEASE, Batch, Database, Stale
from clearance.trust.attest import Attestor
from clearance.trust.audit import export, merkle, note
from clearance.trust.audit.log import ORDER, AuditLog, Note, decode_entry
from clearance.trust.audit.verify import verify, verify_proof

ROUTINE = Note("run.submitted", "main/1", "ann")


def report(house, *kept):
    entries = ((leaf, entry) for _, entry, leaf in house.reader.entries())
    return verify(entries, list(house.reader.checkpoints()), house.attestor.verifiers(), kept)


def test_entries_are_numbered_and_a_checkpoint_covers_them_in_their_transaction(house):
    house.fill(40, each=3)
    entries = [decode_entry(entry) for _, entry, _ in house.reader.entries()]
    assert [entry.number for entry in entries] == list(range(43))
    assert entries[0].action == "log.opened"
    assert entries[1].details == {"n": 0}
    checkpoint = note.verify(house.reader.newest(), house.attestor.verifiers())
    assert checkpoint.size == 43
    assert checkpoint.at == house.now
    found = report(house)
    assert not found.problems
    assert (found.size, found.covered) == (43, 43)


def test_another_controller_goes_on_where_the_rows_end(house):
    for count in (1, 14, 3, 250):
        house.fill(count)
        house.log = AuditLog(house.database, house.attestor)
    assert report(house).covered == house.log.size == 269


def test_proofs_from_stored_hashes_hold(house):
    house.fill(300, each=10)
    old = house.reader.newest()
    house.fill(77)
    keys = house.attestor.verifiers()
    for number in (0, 1, 15, 16, 255, 256, 377):
        assert verify_proof(export.inclusion(house.reader, number), keys).size == 378
    assert verify_proof(export.consistency(house.reader, old), keys).size == 378
    root = house.reader.checkpoint().root
    proof = house.reader.inclusion(5, 378)
    assert merkle.includes(merkle.leaf_hash(house.reader.entry(5)), 5, 378, proof, root)


def test_routine_entries_wait_for_the_key_and_are_sealed_at_the_end(house):
    house.enter(ROUTINE)
    assert not house.attestor.ready
    assert house.reader.newest() is None
    staged = house.log.stage((), house.now, seal=True)
    batch = Batch(ORDER)
    staged.put(batch)
    house.database.apply(batch, epoch=1)
    house.log.accept(staged)
    assert report(house).covered == 2
    assert house.log.stage((), house.now, seal=True) is None


def test_what_was_signed_is_covered_within_a_tenth_of_a_second(house):
    house.fill(1)
    house.now -= 0.95
    house.enter(ROUTINE)
    assert house.log.due == pytest.approx(house.now + 0.1 - 0.05, abs=0.06)
    assert house.log.stage((), house.now) is None
    assert house.log.stage((), house.log.due).checkpoint


def test_a_decision_is_covered_at_once_though_the_key_must_be_loaded(house):
    house.enter(Note("policy.denied", "main/1 train", "ann"))
    assert house.reader.checkpoint().size == 2


def test_two_controllers_cannot_fork_it(house):
    house.fill(3)
    other = AuditLog(house.database, house.attestor)
    house.database.write("lease_take", 2, "other", "socket", house.now + 100, LEASE, 1)
    house.enter(Note("policy.denied", "theirs"), epoch=2, log=other)
    with pytest.raises(LeaseLost):
        house.enter(Note("policy.denied", "ours"), epoch=1)
    with pytest.raises(Stale):  # and if the lease were no hindrance, the number is taken
        house.enter(Note("policy.denied", "ours"), epoch=2)
    subjects = [decode_entry(entry).subject for _, entry, _ in house.reader.entries()]
    assert subjects[-1] == "theirs"
    assert not report(house).problems


def test_what_is_not_committed_never_was(house):
    house.fill(2)
    assert house.log.stage([Note("policy.denied", "lost")], house.now + 1)
    house.fill(1)
    assert report(house).covered == 4


def test_a_clock_before_the_newest_entry_is_refused(house):
    house.fill(2)
    with pytest.raises(Refused, match="set the clock"):
        house.log.stage([ROUTINE], house.now - 60)
    again = AuditLog(house.database, house.attestor)
    with pytest.raises(Refused, match="set the clock"):
        again.stage([ROUTINE], house.now - 60)
    staged = house.log.stage([ROUTINE], house.now - 0.5)  # a time service that corrects by a little
    assert staged.at == house.now


def test_a_log_that_does_not_end_as_its_checkpoint_says_is_not_gone_on_with(house):
    house.fill(5)
    house.database.dialect.execute("DELETE FROM audit WHERE number = 4")
    with pytest.raises(Refused, match=r"does not end as|lacks hashes"):
        AuditLog(house.database, house.attestor)
    house.fill(0)
    house.database.dialect.execute("UPDATE audit SET leaf = entry WHERE number = 5")
    with pytest.raises(Refused):
        AuditLog(house.database, house.attestor)


def test_a_home_with_another_key_says_so_and_counts_for_whoever_trusts_it(house, tmp_path):
    house.fill(2)
    attestor = Attestor(tmp_path / "elsewhere")
    house.enter(Note("policy.denied", "x"), log=AuditLog(house.database, attestor))
    joined, after = [decode_entry(entry) for _, entry, _ in house.reader.entries()][-2:]
    assert (joined.action, joined.subject, after.action) == ("key.joined", attestor.key.public.id, "policy.denied")
    assert [each.code for each in report(house).problems] == ["checkpoint-forged", "not-covered"]
    entries = ((leaf, entry) for _, entry, leaf in house.reader.entries())
    both = [*house.attestor.verifiers(), *attestor.verifiers()]
    assert verify(entries, list(house.reader.checkpoints()), both).problems == ()
    house.enter(Note("policy.denied", "y"), log=AuditLog(house.database, house.attestor))  # and back again
    assert report(house).problems == ()


@pytest.mark.parametrize(
    ("statement", "code", "entry"),
    [
        ("DELETE FROM audit WHERE number = 7", "entry-dropped", 7),
        ("DELETE FROM audit WHERE number > 30", "log-truncated", 31),
        ("UPDATE audit SET leaf = (SELECT leaf FROM audit WHERE number = 8) WHERE number = 7", "entry-edited", 7),
    ],
)
def test_rows_that_somebody_changed_are_named(house, statement, code, entry):
    house.fill(40)
    kept = house.reader.newest()
    house.database.dialect.execute(statement)
    found = report(house, kept)
    assert (code, entry) in [(each.code, each.entry) for each in found.problems]


def test_a_database_that_is_written_anew_does_not_go_on_from_a_checkpoint_kept_elsewhere(house, tmp_path):
    house.fill(20)
    kept = house.reader.newest()
    with Database(f"sqlite:///{tmp_path / 'anew.db'}") as anew:
        anew.migrate()
        log = AuditLog(anew, house.attestor)
        staged = log.stage([Note("policy.denied", f"run/{at}") for at in range(40)], house.now)
        batch = Batch(ORDER)
        staged.put(batch)
        anew.write("lease_create", LEASE)
        anew.write("lease_take", 1, "me", "socket", house.now + 100, LEASE, 0)
        anew.apply(batch, epoch=1)
        house.reader = type(house.reader)(anew)
        assert not report(house).problems
        assert [each.code for each in report(house, kept).problems] == ["log-forked"]
