from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Corrupt, StoreError, UsageError
from clearance.store.blobs import BUFFER, Blobs, LocalBlobs, open_blobs
from clearance.types.digest import Digest, digest_of


@pytest.fixture(params=["local", "file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    url = {
        "local": str(tmp_path / "blobs"),
        "file": f"file://{tmp_path}/my%20blobs",
        "memory": f"memory://{uuid.uuid4()}",
    }[request.param]
    return open_blobs(url)


@pytest.fixture
def local(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def spoil(blobs: Blobs, digest: Digest, data: bytes) -> None:
    if isinstance(blobs, LocalBlobs):
        path = blobs.path(digest)
        path.chmod(0o644)
        path.write_bytes(data)
    else:
        blobs._fs.pipe_file(blobs._path(digest), data)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER, 2 * BUFFER + 1])
def test_what_goes_in_comes_out(blobs: Blobs, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    digest = blobs.put_bytes(data)
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert blobs.put_file(source) == (digest, size)
    assert blobs.get_bytes(digest) == data
    with blobs.open(digest) as stream:
        assert stream.read() == data
    blobs.materialise(digest, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data
    assert os.stat(tmp_path / "target").st_mode & 0o777 == 0o444
    blobs.materialise(digest, tmp_path / "program", executable=True)
    assert os.stat(tmp_path / "program").st_mode & 0o777 == 0o555
    assert blobs.has(digest)
    assert blobs.size(digest) == size


@pytest.mark.parametrize("bad", [b"", b"short", b"x" * 100_000])
def test_changed_bytes_are_found_by_every_reader(blobs: Blobs, tmp_path: Path, bad: bytes) -> None:
    digest = blobs.put_bytes(b"y" * 100_000)
    spoil(blobs, digest, bad)
    with pytest.raises(Corrupt, match="delete that file"):
        blobs.get_bytes(digest)
    with blobs.open(digest) as stream, pytest.raises(Corrupt):
        shutil.copyfileobj(stream, io.BytesIO(), 1000)
    for executable in (False, True):
        with pytest.raises(Corrupt):
            blobs.materialise(digest, tmp_path / "target", executable)
    assert not (tmp_path / "target").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")] == []


def test_storing_again_mends_a_blob_of_the_wrong_size(blobs: Blobs) -> None:
    digest = blobs.put_bytes(b"good")
    spoil(blobs, digest, b"truncate")
    blobs.put_bytes(b"good")
    assert blobs.get_bytes(digest) == b"good"


def test_missing_blobs_are_named(blobs: Blobs, tmp_path: Path) -> None:
    digest = digest_of(b"never stored")
    assert not blobs.has(digest)
    for read in (blobs.get_bytes, blobs.open, blobs.size, lambda name: blobs.materialise(name, tmp_path / "t")):
        with pytest.raises(StoreError, match="is not in"):
            read(digest)  # type: ignore[operator]
    for text in ("sha256:../../etc/passwd", "sha256:" + "A" * 64, ""):
        with pytest.raises(UsageError, match="is no digest"):
            blobs.has(Digest(text))


def test_a_target_is_never_replaced(blobs: Blobs, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    digest = blobs.put_bytes(b"other")
    for executable in (False, True):
        with pytest.raises(StoreError, match="exists"):
            blobs.materialise(digest, target, executable)
    assert target.read_text() == "mine"


def test_only_regular_files_are_stored(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing", "."):
        with pytest.raises(StoreError):
            blobs.put_file(tmp_path / name, move=True)


def test_a_moved_file_is_taken_over_and_stays_readable(local: LocalBlobs, tmp_path: Path) -> None:
    source = tmp_path / "result"
    source.write_bytes(b"r" * 5000)
    digest, size = local.put_file(source, move=True)
    assert size == 5000
    assert os.path.samefile(source, local.path(digest))
    assert os.stat(source).st_mode & 0o777 == 0o444
    assert local.put_file(source, move=True) == (digest, size)
    assert local.get_bytes(digest) == b"r" * 5000


def test_a_file_with_a_second_name_is_copied_even_when_moved(local: LocalBlobs, tmp_path: Path) -> None:
    source = tmp_path / "result"
    source.write_bytes(b"one")
    os.link(source, tmp_path / "second")
    digest, _ = local.put_file(source, move=True)
    (tmp_path / "second").write_bytes(b"two")
    assert local.get_bytes(digest) == b"one"


def test_materialised_files_are_hard_links(local: LocalBlobs, tmp_path: Path) -> None:
    digest = local.put_bytes(b"shared")
    local.materialise(digest, tmp_path / "target")
    assert os.path.samefile(tmp_path / "target", local.path(digest))


def test_other_filesystems_get_a_copy(local: LocalBlobs) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == local.path(digest_of(b"")).parent.parent.stat().st_dev:
        pytest.skip("/dev/shm is not another filesystem")
    target = shm / f"clearance-{uuid.uuid4()}"
    source = shm / f"clearance-{uuid.uuid4()}"
    try:
        source.write_bytes(b"far")
        digest, _ = local.put_file(source, move=True)
        local.materialise(digest, target)
        assert target.read_bytes() == b"far"
    finally:
        target.unlink(missing_ok=True)
        source.unlink(missing_ok=True)


def test_a_crash_leaves_no_blob_and_sweep_collects_the_rest(local: LocalBlobs, tmp_path: Path) -> None:
    source = tmp_path / "pipe"
    source.write_bytes(os.urandom(64 << 20))
    program = (
        "import os, sys, signal; from pathlib import Path; from clearance.store import blobs\n"
        "os.fdatasync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"blobs.LocalBlobs(Path({str(tmp_path / 'blobs')!r})).put_file(Path({str(source)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": "src"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "blobs" / "sha256").iterdir()) == []
    assert len(list((tmp_path / "blobs" / "tmp").iterdir())) == 1
    assert local.sweep() == 0
    assert local.sweep(older_than=-1) == 1
    digest, _ = local.put_file(source)
    assert local.has(digest)
    assert list((tmp_path / "blobs" / "tmp").iterdir()) == []


def test_a_file_that_changes_meanwhile_is_refused(
    local: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearance.store import blobs

    source = tmp_path / "busy"
    source.write_bytes(b"a" * 100)
    whole = blobs.chunks

    def meddling(file):  # type: ignore[no-untyped-def]
        yield from whole(file)
        with source.open("ab") as other:
            other.write(b"b")
        os.utime(source, ns=(time.time_ns(), time.time_ns() + 1))

    monkeypatch.setattr(blobs, "chunks", meddling)
    for move in (False, True):
        with pytest.raises(StoreError, match="changed while it was stored"):
            local.put_file(source, move)


def test_memory_sweep_and_unknown_protocols() -> None:
    assert open_blobs(f"memory://{uuid.uuid4()}").sweep() == 0
    for url in ("nonsense://x", "file://host/x"):
        with pytest.raises(UsageError, match="blobs URL"):
            open_blobs(url)


def test_opening_local_blobs_imports_no_fsspec() -> None:
    program = (
        "import sys; from clearance.store.blobs import open_blobs; import clearance.store.serializers\n"
        "import tempfile; open_blobs(tempfile.mkdtemp()).put_bytes(b'x')\n"
        "print([m for m in ('fsspec', 'numpy', 'torch', 'pyarrow', 'cryptography', 'ssl') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_digests_name_the_bytes(tmp_path_factory: pytest.TempPathFactory, values: list[bytes]) -> None:
    blobs = LocalBlobs(tmp_path_factory.mktemp("blobs"))
    digests = [blobs.put_bytes(value) for value in values]
    assert [blobs.get_bytes(digest) for digest in digests] == values
    assert len(set(digests)) == len(set(values))
