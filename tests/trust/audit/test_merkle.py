"""Merkle trees: known roots, and every proof of every small tree against the definition in RFC 6962."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.audit import merkle
from clearance.trust.audit.merkle import Edge, leaf_hash

# The eight entries and roots with which the reference implementation of RFC 6962 (google/certificate-transparency,
# cpp/merkletree/merkle_tree_test.cc) tests itself.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def tree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + tree(leaves[:half]) + tree(leaves[half:])).digest()


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def lookup(hashes: list[bytes]):
    return lambda height, index: tree(hashes[index << height : (index + 1) << height])


def test_the_roots_are_those_of_the_reference():
    edge = Edge()
    assert edge.root() == merkle.EMPTY
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        edge.append(leaf_hash(bytes.fromhex(entry)))
        assert edge.root().hex() == root


def test_kept_nodes_are_every_fourth_level_once():
    edge, kept, hashes = Edge(), [], leaves(1000)
    for leaf in hashes:
        edge.append(leaf, kept)
    assert sorted((height, index) for height, index, _ in kept) == [
        *((4, index) for index in range(62)), *((8, index) for index in range(3)),
    ]  # fmt: skip
    for height, index, node in kept:
        assert node == lookup(hashes)(height, index)


@given(st.integers(1, 200), st.data())
def test_every_leaf_is_proved_and_no_other_value(size: int, data: st.DataObject):
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.prove(merkle.inclusion_ranges(index, size), lookup(hashes))
    root = tree(hashes)
    assert merkle.includes(hashes[index], index, size, proof, root)
    other = data.draw(st.integers(0, size + 3).filter(lambda at: at != index))
    assert not merkle.includes(hashes[index], other, size, proof, root)
    assert not merkle.includes(leaf_hash(b"other"), index, size, proof, root)
    assert not merkle.includes(hashes[index], index, size, [*proof, root], root)
    if proof:
        assert not merkle.includes(hashes[index], index, size, proof[:-1], root)


@given(st.integers(0, 150), st.integers(0, 150), st.data())
def test_growth_is_proved_and_no_rewriting(old: int, more: int, data: st.DataObject):
    size = old + more
    hashes = leaves(size)
    proof = merkle.prove(merkle.consistency_ranges(old, size), lookup(hashes))
    before, after = tree(hashes[:old]), tree(hashes)
    assert merkle.extends(old, before, size, after, proof)
    if old:
        changed = [*hashes]
        changed[data.draw(st.integers(0, old - 1))] = leaf_hash(b"changed")
        forged = merkle.prove(merkle.consistency_ranges(old, size), lookup(changed))
        assert not merkle.extends(old, before, size, tree(changed), forged)
    if 0 < old < size:
        assert not merkle.extends(old, before, size, after, proof[:-1])
        assert not merkle.extends(old - 1, before, size, after, proof)
