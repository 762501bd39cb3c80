"""Databases: found by digest, closed against every way in which they know nothing."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.trust.refusal import Rejected
from clearance.trust.scan.database import open_database, require_fresh

from .conftest import advisory

NOW = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
MONTH = datetime.timedelta(days=30)


def refusal(path: Path) -> str:
    with pytest.raises(Rejected) as caught:
        open_database(path)
    return caught.value.code


def test_the_public_database_is_read_whole(public_database: Path):
    found = open_database(public_database)
    assert found.source.entries == 306
    assert found.source.date.startswith("2024-05-16")
    assert {each.id for each in found.about("Pip")} >= {"PYSEC-2020-173", "PYSEC-2023-228"}
    assert found.about("no-such-thing") == ()


def test_names_are_compared_normalised(database):
    found = open_database(database(advisory(name="Demo.Thing_x")))
    assert [each.id for each in found.about("demo-thing-X")] == ["PYSEC-2026-1"]


def test_a_folder_and_a_zip_say_the_same(database, tmp_path: Path):
    file = database(advisory(), advisory("PYSEC-2026-2", "other"))
    folder = tmp_path / "folder" / "deep"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(file) as opened:
        opened.extractall(folder)
    one, other = open_database(file), open_database(folder.parent)
    assert one.packages == other.packages
    assert one.source.entries == other.source.entries == 2


def test_the_index_is_known_by_the_bytes_alone(database, tmp_path: Path):
    cache = tmp_path / "cache"
    file = database(advisory())
    first = open_database(file, cache)
    moved = tmp_path / "moved.zip"
    shutil.copy(file, moved)
    assert open_database(moved, cache).packages == first.packages
    assert len(list(cache.iterdir())) == 1
    before = file.stat()
    database(advisory(id="PYSEC-2026-9"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [each.id for each in open_database(file, cache).about("demo")] == ["PYSEC-2026-9"]
    assert len(list(cache.iterdir())) == 2


def test_an_index_that_was_changed_is_made_again(database, tmp_path: Path):
    cache = tmp_path / "cache"
    file = database(advisory())
    expected = open_database(file, cache)
    index = next(cache.iterdir())
    whole = index.read_bytes()
    for broken in (b"", whole[:-1], whole[:64], whole.replace(b"PYSEC", b"PYSIC")):
        index.write_bytes(broken)
        assert open_database(file, cache) == expected
        assert index.read_bytes() == whole


def test_the_index_of_a_folder_follows_its_files(tmp_path: Path):
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(advisory()))
    first = open_database(folder, tmp_path / "cache")
    (folder / "b.json").write_text(json.dumps(advisory("PYSEC-2026-2")))
    second = open_database(folder, tmp_path / "cache")
    assert first.source.digest != second.source.digest
    assert len(second.about("demo")) == 2


def test_a_database_that_knows_nothing_is_refused(database, tmp_path: Path):
    assert refusal(tmp_path / "none.zip") == "database-missing"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == "database-empty"
    assert refusal(database()) == "database-empty"
    assert refusal(database(advisory(ecosystem="npm"))) == "database-empty"


def test_a_damaged_database_is_refused(database, tmp_path: Path):
    file = database(advisory(), advisory("PYSEC-2026-2", "other"))
    data = file.read_bytes()
    for index, broken in enumerate((b"", b"PK", data[:-30], data.replace(b'"id"', b'"ix"'), data[40:])):
        bad = tmp_path / f"{index}.zip"
        bad.write_bytes(broken)
        assert refusal(bad) == "database-malformed"
    for text in (b"{}", b"[", b'{"id": 1}', b'{"id": "X", "modified": "yesterday"}',
                 b'{"id": "X", "modified": "2026-01-01"}',
                 b'{"id": "X", "id": "Y", "modified": "2026-01-01T00:00:00Z"}', b"\xff", b"[" * 100_000):  # fmt: skip
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as opened:
            opened.writestr("good.json", json.dumps(advisory()))
            opened.writestr("bad.json", text)
        assert refusal(tmp_path / "bad.zip") == "database-malformed"


def test_an_advisory_or_file_that_stands_twice_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("a.json", json.dumps(advisory()))
        opened.writestr("b.json", json.dumps(advisory()))
    assert refusal(tmp_path / "a.zip") == "database-malformed"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as opened:
        opened.writestr("a.json", json.dumps(advisory()))
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr("a.json", json.dumps(advisory("PYSEC-2026-2")))
    assert refusal(tmp_path / "b.zip") == "database-malformed"


def test_a_zip_bomb_and_a_link_are_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.json", b" " * (17 * 2**20))
    assert refusal(tmp_path / "a.zip") == "database-malformed"
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "elsewhere.json").write_text(json.dumps(advisory()))
    (folder / "a.json").symlink_to(tmp_path / "elsewhere.json")
    assert refusal(folder) == "database-malformed"
    (folder / "a.json").unlink()
    os.mkfifo(folder / "a.json")
    assert refusal(folder) == "database-malformed"


def test_an_old_database_and_one_from_the_future_are_refused(database):
    source = open_database(database(advisory())).source
    require_fresh(source, NOW, MONTH)
    for now, code in ((NOW + MONTH, "database-stale"), (NOW - 2 * MONTH, "database-early")):
        with pytest.raises(Rejected) as caught:
            require_fresh(source, now, MONTH)
        assert caught.value.code == code


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_read_but_never_a_crash(tmp_path: Path, place: int, value: int):
    file = tmp_path / "good.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.json", json.dumps(advisory()))
    data = bytearray(file.read_bytes())
    data[place % len(data)] = value
    file.write_bytes(data)
    with contextlib.suppress(Rejected):
        assert open_database(file).source.entries == 1
