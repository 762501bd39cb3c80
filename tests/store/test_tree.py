from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Corrupt, StoreError
from clearance.store import tree
from clearance.store.blobs import LocalBlobs
from clearance.store.tree import Entry, Manifest
from clearance.types.digest import Digest, digest_of

PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..") and len(part.encode()) < 200
)
FILES = st.dictionaries(
    st.lists(PART, min_size=1, max_size=3).map("/".join), st.tuples(st.binary(max_size=50), st.booleans())
)


def write(root: Path, files: dict[str, tuple[bytes, bool]]) -> dict[str, tuple[bytes, bool]]:
    written = {}
    for name, (data, executable) in files.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # a file lies where a folder is needed, or the other way round
            continue
        path.chmod(0o755 if executable else 0o600)
        written[name] = (data, executable)
    return written


@settings(max_examples=40, deadline=None)
@given(FILES)
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, tuple[bytes, bool]]) -> None:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "source" / "empty").mkdir(parents=True)
    files = write(folder / "source", files)
    blobs = LocalBlobs(folder / "blobs")
    manifest = tree.store_tree(folder / "source", blobs, move=True)
    assert tree.decode(tree.encode(manifest)) == manifest
    assert manifest.size == sum(len(data) for data, _ in files.values())
    tree.materialise_tree(manifest, blobs, folder / "target")
    found = {
        str(path.relative_to(folder / "target")): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        for path in (folder / "target").rglob("*")
        if path.is_file()
    }
    assert found == files
    assert tree.tree_digest(tree.store_tree(folder / "target", blobs)) == tree.tree_digest(manifest)


def test_digest_depends_on_names_modes_and_bytes_only(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")

    def digest(name: str, **files: tuple[bytes, bool]) -> Digest:
        write(tmp_path / name, files)
        return tree.tree_digest(tree.store_tree(tmp_path / name, blobs))

    first = digest("1", a=(b"x", False), b=(b"y", False))
    os.utime(tmp_path / "1" / "a", (0, 0))
    assert digest("2", b=(b"y", False), a=(b"x", False)) == first
    assert (
        len({first, digest("3", a=(b"x", True), b=(b"y", False)), digest("4", a=(b"x", False), c=(b"y", False))}) == 3
    )


BAD = ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", ".", "a\0b"]


@pytest.mark.parametrize("path", BAD)
def test_paths_that_leave_the_tree_are_refused(path: str, tmp_path: Path) -> None:
    data = tree.encode(Manifest((Entry(path, False, 0, digest_of(b"")),)))
    with pytest.raises(Corrupt, match="cannot be trusted"):
        tree.decode(data)


def test_manifests_that_are_not_canonical_are_refused() -> None:
    a, b = Entry("a", False, 1, digest_of(b"1")), Entry("a/b", False, 1, digest_of(b"2"))
    good = tree.encode(Manifest((a,)))
    for data in (
        good + b" ",
        good.replace(b'{"path":"a"', b'{"path":"x","path":"a"'),
        good.replace(b'"version":1', b'"version":2'),
        good.replace(b'"executable":false', b'"executable":false,"more":1'),
        good.replace(b"sha256:", b"sha512:"),
        good.replace(b'"size":1', b'"size":-1'),
        tree.encode(Manifest((a, a))),
        tree.encode(Manifest((a, b))),
        tree.encode(Manifest((Entry("b", False, 1, a.digest), a))),
        b"[]",
        b"\xff",
    ):
        with pytest.raises(Corrupt):
            tree.decode(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_flipped_byte_changes_the_digest_or_is_refused(data: st.DataObject) -> None:
    manifest = Manifest((Entry("a", True, 1, digest_of(b"1")), Entry("b/c", False, 2, digest_of(b"22"))))
    good = tree.encode(manifest)
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Corrupt):
        assert tree.tree_digest(tree.decode(bytes(bad))) != tree.tree_digest(manifest)


def test_names_that_are_not_utf8_and_missing_folders_are_refused(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    (tmp_path / "tree").mkdir()
    Path(os.fsdecode(bytes(tmp_path / "tree") + b"/\xff")).write_text("x")
    with pytest.raises(StoreError, match="not UTF-8"):
        tree.store_tree(tmp_path / "tree", blobs)
    with pytest.raises(StoreError, match="cannot read the directory"):
        tree.store_tree(tmp_path / "missing", blobs)
    with pytest.raises(StoreError, match="exists already"):
        tree.materialise_tree(Manifest(()), blobs, tmp_path / "tree")
