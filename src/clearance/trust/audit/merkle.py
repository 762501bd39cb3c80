"""Merkle trees as RFC 6962 (section 2.1) hashes them, by an edge that grows, and proofs that RFC 9162 verifies.

A subtree is *perfect* when it has 2^h leaves and begins at a multiple of that. `Edge` keeps the perfect subtrees on
the right edge, some twenty hashes for a million leaves. Of those inside only every fourth level is kept elsewhere
(`STEP`): what lies between is folded from at most 16 of them. Hashes are 32 bytes. Pure: no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

STEP = 4
EMPTY = hashlib.sha256(b"").digest()

Node = tuple[int, int, bytes]
Range = tuple[int, int]


def leaf_hash(entry: bytes) -> bytes:
    """Returns the hash of a leaf."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of two subtrees together."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Edge:
    """The right edge of a tree: enough to append to it and to know its root.

    Args:
        size: number of leaves.
        peaks: hash of each perfect subtree that the tree is made of, from the left, a bit of `size` each.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    def copy(self) -> Edge:
        """Returns one that grows by itself."""
        return Edge(self.size, self.peaks)

    def append(self, leaf: bytes, kept: list[Node] | None = None) -> None:
        """Adds a leaf by its hash; `(height, index, hash)` of each perfect subtree to be kept is added to `kept`."""
        peaks, size, node, height = self.peaks, self.size, leaf, 0
        while size & 1:
            node = hashlib.sha256(b"\1" + peaks.pop() + node).digest()
            size >>= 1
            height += 1
            if kept is not None and height % STEP == 0:
                kept.append((height, size, node))
        peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Returns the hash of the whole tree."""
        return fold(self.peaks)


def fold(peaks: Sequence[bytes]) -> bytes:
    """Returns the hash over perfect subtrees of falling height."""
    if not peaks:
        return EMPTY
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = node_hash(peak, node)
    return node


def perfect(begin: int, end: int) -> list[tuple[int, int]]:
    """Returns `(height, index)` of the perfect subtrees of a range of leaves that a tree has as a node."""
    found = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        found.append((height, begin >> height))
        begin += 1 << height
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Returns the leaves under each hash of the inclusion proof, in its order (RFC 6962, section 2.1.1)."""
    begin, end, found = 0, size, []
    while end - begin > 1:
        half = begin + _split(end - begin)
        if index < half:
            found.append((half, end))
            end = half
        else:
            found.append((begin, half))
            begin = half
    return found[::-1]


def consistency_ranges(old: int, size: int) -> list[Range]:
    """Returns the leaves under each hash of the consistency proof, in its order (RFC 6962, section 2.1.2)."""
    if old in (0, size):
        return []
    begin, end, found, whole = 0, size, [], True
    while old != end:
        half = begin + _split(end - begin)
        if old <= half:
            found.append((half, end))
            end = half
        else:
            found.append((begin, half))
            begin = half
            whole = False
    if not whole:
        found.append((begin, end))
    return found[::-1]


def prove(ranges: Iterable[Range], node: Callable[[int, int], bytes]) -> list[bytes]:
    """Returns the hash of each range.

    Args:
        ranges: as `inclusion_ranges` or `consistency_ranges` says.
        node: returns the hash of the perfect subtree of a height and an index.
    """
    return [fold([node(height, index) for height, index in perfect(*each)]) for each in ranges]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True when the proof shows that the tree of this size and root has the leaf at `index` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(each, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, each)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def extends(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """True when the proof shows that a tree goes on where the old one ended (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= size:
        return False
    if old == 0:
        return not proof and old_root == EMPTY
    if old == size:
        return not proof and old_root == root
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(each, first), node_hash(each, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, each)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == root


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)
