"""Verifying offline: an exported file, the public key, and every way in which somebody may change the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.errors import Refused
from clearance.trust.attest import Attestor
from clearance.trust.audit import export, note
from clearance.trust.audit.log import Note
from clearance.trust.audit.verify import verify, verify_proof
from clearance.trust.keys import parse_public_key
from support.audit import House


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], bytes, str]:
    """An exported log of 61 entries in 20 transactions, its public key, and an older checkpoint."""
    folder = tmp_path_factory.mktemp("audit")
    house = House(f"sqlite:///{folder / 'x.db'}", folder)
    house.fill(30, each=3)
    old = house.reader.newest() or ""
    house.fill(30, each=3)
    lines = list(export.write(house.reader))
    house.database.close()
    return lines, house.attestor.public.pem, old


def check(lines: list[bytes], pem: bytes, *kept: str) -> list[tuple[str, int]]:
    report = verify(*export.read(lines), [parse_public_key(pem)], kept)
    return [(each.code, each.entry) for each in report.problems]


def leaf(line: bytes) -> bytes:
    return b"E " + hashlib.sha256(b"\0" + line[67:-1]).hexdigest().encode() + line[66:]


def test_an_untouched_file_holds(exported):
    lines, pem, old = exported
    assert check(lines, pem, old) == []


def test_an_edited_entry_is_named(exported):
    lines, pem, _ = exported
    lines = [*lines]
    lines[8] = lines[8].replace(b'"n":6', b'"n":7')
    assert check(lines, pem)[0] == ("entry-edited", 7)


def test_an_edited_entry_whose_hash_was_made_again_is_named_by_its_transaction(exported):
    lines, pem, _ = exported
    lines = [*lines]
    lines[8] = leaf(lines[8].replace(b'"n":6', b'"n":9'))
    assert check(lines, pem) == [("range-edited", 7)]  # of entries 7 to 9, which one commit wrote


def test_a_dropped_entry_is_named(exported):
    lines, pem, _ = exported
    assert check([*lines[:10], *lines[11:]], pem)[0] == ("entry-dropped", 9)


def test_entries_that_change_places_are_named(exported):
    lines, pem, _ = exported
    swapped = [*lines]
    swapped[10], swapped[20] = swapped[20], swapped[10]
    codes = check(swapped, pem)
    assert ("entry-moved", 9) in codes
    relabelled = [*lines]  # each under the number of the other
    first, second = relabelled[10], relabelled[20]
    relabelled[10] = leaf(second.replace(b'"number":19', b'"number":9'))
    relabelled[20] = leaf(first.replace(b'"number":9', b'"number":19'))
    assert [code for code, _ in check(relabelled, pem)] in (["range-edited"], ["clock-went-back", "clock-went-back"])


def test_an_entry_that_was_added_is_named(exported):
    lines, pem, _ = exported
    last = lines[61]
    added = leaf(last.replace(b'"number":60', b'"number":61'))
    assert check([*lines[:62], added, *lines[62:]], pem) == [("not-covered", 61)]


def test_a_log_cut_short_with_its_checkpoints_is_found_by_one_that_was_kept(exported):
    lines, pem, old = exported
    entries, checkpoints = lines[1:62], lines[62:]
    cut = [lines[0], *entries[:19], *checkpoints[:6]]
    assert check(cut, pem) == []
    assert check(cut, pem, old) == [("log-truncated", 19)]
    assert check([lines[0], *entries[:19], *checkpoints], pem)[0] == ("log-truncated", 19)


def test_a_forged_checkpoint_is_refused(exported, tmp_path: Path):
    lines, pem, _ = exported
    other = Attestor(tmp_path / "other")
    checkpoint, _ = note.parse(json.loads(lines[-1][2:]))
    forged = note.sign(msgspec.structs.replace(checkpoint, root=b"\0" * 32), other.key)
    assert ("checkpoint-forged", -1) in check([*lines[:-1], b"C " + msgspec.json.encode(forged) + b"\n"], pem)
    assert check(lines, other.public.pem)[-1] == ("no-checkpoint", -1)
    assert check(lines[:62], pem) == [("no-checkpoint", -1)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_byte_of_an_entry_can_be_changed(exported, data: st.DataObject):
    lines, pem, _ = exported
    lines = [*lines]
    at = data.draw(st.integers(1, 61))
    position = data.draw(st.integers(67, len(lines[at]) - 2))
    changed = bytearray(lines[at])
    changed[position] ^= data.draw(st.integers(1, 255).filter(lambda flip: changed[position] ^ flip != 10))
    for line in (bytes(changed), leaf(bytes(changed))):
        lines[at] = line
        assert check(lines, pem)


@given(st.binary(max_size=300))
def test_anything_else_is_refused_and_never_crashes(junk: bytes):
    with pytest.raises(Refused):
        list(export.read(junk.splitlines(keepends=True))[0])
    with pytest.raises(Refused):
        note.parse(junk.decode("latin-1"))


def test_a_proof_of_another_log_or_entry_is_refused(exported, tmp_path: Path):
    house = House(f"sqlite:///{tmp_path / 'x.db'}", tmp_path)
    house.fill(9)
    old = house.reader.newest() or ""
    house.enter(Note("policy.denied", "x"))
    keys = house.attestor.verifiers()
    proof = export.inclusion(house.reader, 4)
    replace = msgspec.structs.replace
    assert verify_proof(proof, keys)
    for bad in (
        replace(proof, entry=proof.entry.replace("ann", "bob")),
        replace(proof, number=5),
        replace(proof, hashes=proof.hashes[:-1]),
        replace(proof, hashes=("zz",)),
        replace(proof, checkpoint=old),
        replace(proof, checkpoint=json.loads(exported[0][-1][2:])),
    ):
        with pytest.raises(Refused):
            verify_proof(bad, keys)
    growth = export.consistency(house.reader, old)
    assert verify_proof(growth, keys)
    for bad in (replace(growth, number=3), replace(growth, hashes=growth.hashes[:-1]), replace(growth, old="x")):
        with pytest.raises(Refused):
            verify_proof(bad, keys)
    house.database.close()
