from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import socket
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import msgspec
import numpy
import pandas
import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Corrupt, NotSerialisable, StoreError, UsageError
from clearance.store.blobs import Blobs, open_blobs
from clearance.store.serializers import dump, load, reachable, register_serializer
from clearance.types.artifact import INLINE_LIMIT, Artifact
from clearance.types.digest import digest_of
from clearance.types.references import Dataset, Endpoint, File, Model, Tree


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: float
    tags: tuple[str, ...] = ()
    when: datetime.datetime | None = None
    colour: Colour = Colour.RED
    names: set[str] = field(default_factory=set)


class Row(msgspec.Struct):
    key: int
    value: decimal.Decimal


@dataclass
class Holder:
    model: Model


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs(str(tmp_path / "blobs"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


def there_and_back(value: Any, annotation: Any, blobs: Blobs, work: Path) -> Any:
    artifact = dump(value, annotation, blobs, work)
    assert artifact is not None
    artifact = msgspec.json.decode(msgspec.json.encode(artifact), type=Artifact)
    return load(artifact, annotation, blobs, work / "in")


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, bool),
        (2**70, int),
        (1.5, float),
        (3, float),
        ("é", str),
        (b"\x00\xff", bytes),
        (bytearray(b"ab"), bytearray),
        ([1, 2], list[int]),
        ((1, "a"), tuple[int, str]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({(1, 2): 3.0}, dict[tuple[int, int], float]),
        ({"b": 1, "a": 2}, dict[str, int]),
        ({3, 1}, set[int]),
        (frozenset("ab"), frozenset[str]),
        (datetime.date(2024, 2, 29), datetime.date),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC), datetime.datetime),
        (datetime.datetime(2024, 2, 29), datetime.datetime),
        (datetime.timedelta(seconds=1.5), datetime.timedelta),
        (uuid.UUID(int=7), uuid.UUID),
        (decimal.Decimal("1.10"), decimal.Decimal),
        (Colour.RED, Colour),
        (Point(1.0, ("a",), datetime.datetime(2024, 1, 1), Colour.RED, {"x", "y"}), Point),
        (Point(math.inf), Point),
        ([Row(1, decimal.Decimal("0.1"))], list[Row]),
        ({"a": b"x"}, dict[str, bytes]),
        ({"a": b"x", 3: None}, Any),
        ([math.inf, 1.0], list[float]),
        (Endpoint("e", "https://localhost:1"), Endpoint),
        ([Point(2.0)], list[Point] | None),
        (Point(2.0), Optional[Point]),
    ],
)
def test_plain_data_comes_back_as_its_annotation_says(value: Any, annotation: Any, blobs: Blobs, work: Path) -> None:
    back = there_and_back(value, annotation, blobs, work)
    assert back == value
    if annotation is not float:
        assert type(back) is type(value)


def test_order_of_a_dict_is_kept(blobs: Blobs, work: Path) -> None:
    assert list(there_and_back({"b": 1, "a": 2}, dict[str, int], blobs, work)) == ["b", "a"]


def test_nan_comes_back(blobs: Blobs, work: Path) -> None:
    for value, annotation in ((math.nan, float), ([[math.nan]], list[list[float]]), ({"a": math.nan}, Any)):
        text = repr(there_and_back(value, annotation, blobs, work))
        assert text == repr(value)


def test_none_has_no_artifact(blobs: Blobs, work: Path) -> None:
    assert dump(None, int, blobs, work) is None


def test_a_record_without_annotation_is_plain_data(blobs: Blobs, work: Path) -> None:
    artifact = dump(Point(1.0), Any, blobs, work)
    assert artifact is not None
    assert load(artifact, Point, blobs, work) == Point(1.0)
    assert load(artifact, Any, blobs, work)["x"] == 1.0


@pytest.mark.parametrize(
    ("value", "annotation"),
    [("a", int), ([1, "a"], list[int]), (1, None), ({"x": "no"}, Point), (2, dict[str, int])],
)
def test_a_value_that_does_not_fit_its_annotation_is_refused(
    value: Any, annotation: Any, blobs: Blobs, work: Path
) -> None:
    with pytest.raises(NotSerialisable, match="does not fit its annotation"):
        dump(value, annotation, blobs, work)


def test_what_no_format_carries_is_refused(blobs: Blobs, work: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), [object()], {"a": [lambda: 0]}, 1j, [2**70, math.nan], "\ud800", loop, (x for x in "a")):
        with pytest.raises((NotSerialisable, RecursionError)):
            dump(value, Any, blobs, work)


def test_refusal_names_the_mend(blobs: Blobs, work: Path) -> None:
    with pytest.raises(NotSerialisable, match=r"register_serializer\(object, name, dump, load\)"):
        dump(object(), Any, blobs, work)


def test_numpy_scalars_travel_as_numbers(blobs: Blobs, work: Path) -> None:
    for value in (numpy.float32(0.5), numpy.float64(0.5), numpy.int64(3), numpy.bool_(True), numpy.str_("a")):
        assert there_and_back(value, Any, blobs, work) == value.item()
        assert there_and_back({"a": [value]}, Any, blobs, work) == {"a": [value.item()]}
    assert there_and_back(numpy.float32(0.5), float, blobs, work) == 0.5
    assert type(there_and_back(numpy.float32(0.5), numpy.float32, blobs, work)) is numpy.float32
    assert math.isnan(there_and_back(numpy.float32("nan"), float, blobs, work))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), children),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_plain_data_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    blobs = open_blobs(str(folder / "blobs"))
    artifact = dump([value], Any, blobs, folder)
    assert artifact is not None
    assert load(artifact, Any, blobs, folder) == [value]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["<f4", "<f8", "<i8", "|b1", "<c16", "<U3", "|u1", "<M8[s]"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
)
def test_any_array_comes_back(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, shape: list[int], fortran: bool
) -> None:
    folder = tmp_path_factory.mktemp("array")
    blobs = open_blobs(str(folder / "blobs"))
    value = numpy.zeros(shape, dtype=dtype, order="F" if fortran else "C")
    back = there_and_back(value, numpy.ndarray, blobs, folder)
    assert back.dtype == value.dtype
    assert back.shape == value.shape
    assert (back == value).all()


def test_large_values_are_blobs_and_small_ones_inline(blobs: Blobs, work: Path) -> None:
    small = dump("a" * 10, str, blobs, work)
    large = dump("a" * (INLINE_LIMIT + 1), str, blobs, work)
    assert small is not None
    assert large is not None
    assert small.inline is not None
    assert not blobs.has(small.digest)
    assert large.inline is None
    assert blobs.has(large.digest)
    assert large.size == INLINE_LIMIT + 3


@pytest.mark.parametrize("count", [3, 5000])
def test_inline_and_stored_bytes_are_verified(count: int, blobs: Blobs, work: Path) -> None:
    artifact = dump("a" * count, str, blobs, work)
    assert artifact is not None
    if artifact.inline is not None:
        artifact = msgspec.structs.replace(artifact, inline=b'"b"')
    else:
        path = blobs.path(artifact.digest)  # type: ignore[attr-defined]
        path.chmod(0o644)
        path.write_bytes(b'"' + b"b" * count + b'"')
    with pytest.raises(Corrupt):
        load(artifact, str, blobs, work)


def test_arrays_travel_and_leave_no_files_behind(blobs: Blobs, work: Path) -> None:
    for shape in ((3,), (2000, 10)):
        value = numpy.random.default_rng(0).normal(size=shape)
        back = there_and_back(value, numpy.ndarray, blobs, work)
        assert (back == value).all()
        back[0] = 1  # it is the reader's own
    assert [path for path in work.rglob("*") if path.is_file()] == []


def test_arrays_that_need_a_pickle_are_refused(blobs: Blobs, work: Path) -> None:
    for value in (
        numpy.array([object()]),
        numpy.zeros(1, dtype=[("a", object)]),
        numpy.ma.masked_array([1, 2], mask=[0, 1]),
    ):
        with pytest.raises(NotSerialisable):
            dump(value, numpy.ndarray, blobs, work)


def test_stored_array_that_holds_a_pickle_is_refused(blobs: Blobs, work: Path) -> None:
    path = work / "evil.npy"
    numpy.save(path, numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    data = path.read_bytes()
    with pytest.raises(Corrupt):
        load(Artifact(digest_of(data), len(data), "npy", "", data), numpy.ndarray, blobs, work)


def test_tensors_travel_as_safetensors(blobs: Blobs, work: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    one = there_and_back(shared.T, torch.Tensor, blobs, work)
    assert torch.equal(one, shared.T)
    several = {"w": shared, "tied": shared, "v": shared[1], "empty": torch.zeros(0), "h": torch.ones(2).bfloat16()}
    back = there_and_back(several, dict[str, torch.Tensor], blobs, work)
    assert list(back) != []
    assert all(torch.equal(back[name], tensor) for name, tensor in several.items())
    layer = torch.nn.Linear(2, 1)
    state = there_and_back(layer.state_dict(), dict[str, torch.Tensor], blobs, work)
    layer.load_state_dict(state)
    parameter = there_and_back(torch.nn.Parameter(torch.ones(3000)), torch.Tensor, blobs, work)
    assert torch.equal(parameter, torch.ones(3000))
    with pytest.raises(NotSerialisable, match="sparse"):
        dump(torch.eye(2).to_sparse(), torch.Tensor, blobs, work)


def test_tables_travel_as_parquet(blobs: Blobs, work: Path) -> None:
    table = pyarrow.table({"a": [1, None], "b": ["x", "y"]})
    frame = pandas.DataFrame({"a": [1.0, 2.0], "t": pandas.to_datetime(["2024-01-01", "2024-01-02"])}, index=["p", "q"])
    assert there_and_back(table, pyarrow.Table, blobs, work).equals(table)
    assert there_and_back(table, Any, blobs, work).equals(table)
    pandas.testing.assert_frame_equal(there_and_back(frame, pandas.DataFrame, blobs, work), frame)
    pandas.testing.assert_frame_equal(there_and_back(frame, Any, blobs, work), frame)
    with pytest.raises(NotSerialisable):
        dump(pandas.DataFrame({"a": [object()]}), pandas.DataFrame, blobs, work)


def test_containers_of_arrays_and_references_travel(blobs: Blobs, work: Path) -> None:
    for name in ("train", "test"):
        (work / name).mkdir()
        (work / name / "rows.csv").write_text(name)
    value = (
        [numpy.arange(3), numpy.arange(4000)],
        {"a": torch.ones(2), "b": numpy.ones(1), "c": None, "d": 3},
        (Dataset(work / "train", metadata={"rows": 1}), Dataset(work / "test")),
        math.nan,
    )
    annotation = tuple[list[numpy.ndarray], dict[str, Any], tuple[Dataset, Dataset], float]
    artifact = dump(value, annotation, blobs, work)
    assert artifact is not None
    assert artifact.serializer == "composite"
    arrays, named, (train, test), nan = load(artifact, annotation, blobs, work / "in")
    assert (arrays[1] == value[0][1]).all()
    assert torch.equal(named["a"], torch.ones(2))
    assert named["c"] is None
    assert named["d"] == 3
    assert (train.path / "rows.csv").read_text() == "train"
    assert (test.path / "rows.csv").read_text() == "test"
    assert train.metadata == {"rows": 1}
    assert math.isnan(nan)
    assert all(blobs.has(digest) for digest in reachable(artifact, blobs))
    assert len(reachable(artifact, blobs)) >= 3


def test_references_inside_records_are_refused_with_the_mend(blobs: Blobs, work: Path) -> None:
    for value in (Holder(Model(work)), {"a": {Path("x")}}, Holder(numpy.ones(1))):  # type: ignore[arg-type]
        with pytest.raises(NotSerialisable, match="put it in a list"):
            dump(value, Any, blobs, work)


def test_a_file_travels_with_its_name(blobs: Blobs, work: Path) -> None:
    (work / "table.csv").write_text("a,b")
    artifact = dump(File(work / "table.csv"), File, blobs, work)
    assert artifact is not None
    file = load(artifact, File, blobs, work / "in")
    assert file.path.name == "table.csv"
    assert file.path.read_text() == "a,b"
    assert file.digest == artifact.digest
    assert os.stat(file.path).st_mode & 0o777 == 0o444
    assert isinstance(load(artifact, Path, blobs, work / "in"), Path)
    evil = msgspec.structs.replace(artifact, metadata={"name": "../../escaped"})
    assert load(evil, File, blobs, work / "in").path.name == "file"


def test_a_file_outside_the_attempts_directory_is_copied(blobs: Blobs, work: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (work / "link.txt").symlink_to(outside)
    for path in (outside, work / "link.txt"):
        artifact = dump(path, Path, blobs, work)
        assert artifact is not None
        assert load(artifact, Path, blobs, work / "in").read_text() == "mine"
    outside.write_text("still writable")
    with pytest.raises(NotSerialisable, match="is a directory"):
        dump(work, Path, blobs, work)
    with pytest.raises(StoreError, match="cannot read the file"):
        dump(work / "missing", Path, blobs, work)


def test_a_model_travels_and_can_be_returned_again(blobs: Blobs, work: Path) -> None:
    root = work / "model"
    (root / "sub").mkdir(parents=True)
    (root / "weights").write_bytes(b"w" * 9000)
    (root / "sub" / "run.sh").write_text("#!/bin/sh")
    (root / "sub" / "run.sh").chmod(0o755)
    artifact = dump(Model(root, metadata={"metrics": {"auc": numpy.float32(0.5)}}), Model, blobs, work)
    assert artifact is not None
    assert artifact.size == 9009
    model = load(artifact, Model, blobs, work / "in")
    assert type(model) is Model
    assert model.digest == artifact.digest
    assert model.metadata == {"metrics": {"auc": 0.5}}
    assert os.access(model.path / "sub" / "run.sh", os.X_OK)
    assert os.stat(model.path / "weights").st_nlink > 1
    twice = dump((Model(root), Model(root)), tuple[Model, Model], blobs, work)
    assert twice is not None
    one, other = load(twice, tuple[Model, Model], blobs, work / "in")
    assert one.digest == other.digest == model.digest
    again = dump(model, Model, blobs, work)
    assert again is not None
    assert again.digest == artifact.digest
    assert type(load(artifact, Tree, blobs, work / "in")) is Model
    with pytest.raises(NotSerialisable, match="wants a Dataset"):
        load(artifact, Dataset, blobs, work / "in")


def test_trees_refuse_what_is_no_file(blobs: Blobs, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = work / "tree"
    root.mkdir()
    (root / "a").write_text("a")
    (root / "link").symlink_to("a")
    with pytest.raises(StoreError, match="symbolic link"):
        dump(Tree(root), Tree, blobs, work)
    (root / "link").unlink()
    os.mkfifo(root / "pipe")
    with pytest.raises(StoreError, match="socket or pipe"):
        dump(Tree(root), Tree, blobs, work)
    (root / "pipe").unlink()
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(StoreError, match="socket or pipe"):
            dump(Tree(root), Tree, blobs, work)


def test_a_registered_type_travels(blobs: Blobs, work: Path) -> None:
    class Version:
        def __init__(self, text: str) -> None:
            self.text = text

    register_serializer(Version, "version", lambda version: version.text.encode(), lambda data: Version(data.decode()))
    assert there_and_back(Version("1.2"), Version, blobs, work).text == "1.2"
    assert [item.text for item in there_and_back([Version("3")], list[Version], blobs, work)] == ["3"]
    with pytest.raises(UsageError, match="Clearance's own"):
        register_serializer(complex, "json", lambda value: b"", lambda data: 0j)
    with pytest.raises(UsageError, match="is taken by"):
        register_serializer(complex, "version", lambda value: b"", lambda data: 0j)
    with pytest.raises(NotSerialisable, match="no serializer 'gone'"):
        load(Artifact(digest_of(b""), 0, "gone", "", b""), Any, blobs, work)
