"""Content decides: formats are read strictly, what cannot be read is refused, nothing is followed or executed."""

import bz2
import gzip
import io
import json
import os
import stat
import struct
import tarfile
import zipfile

import pytest
from bench.trust.payloads import safetensors_of, tar_of, zip_of
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import UsageError
from clearance.trust.ingest import Limits, judge_model


@pytest.fixture
def judged(tmp_path):
    """Judges bytes under a name, and returns the codes of the findings."""

    def judge(data, name="model", limits=None):
        path = tmp_path / name
        path.write_bytes(data)
        return [finding.code for finding in judge_model(path, limits).findings]

    return judge


def header_of(header, data=b""):
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body)) + body + data


TENSOR = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (header_of({"a": TENSOR}, b"1234") + b"5", "safetensors-layout"),
        (header_of({"a": TENSOR | {"data_offsets": [1, 5]}}, b"12345"), "safetensors-layout"),
        (header_of({"a": TENSOR, "b": TENSOR}, b"1234"), "safetensors-layout"),
        (header_of({"a": TENSOR | {"shape": [5]}}, b"1234"), "safetensors-layout"),
        (header_of({"a": TENSOR | {"shape": [2**62, 2**62]}}, b"1234"), "safetensors-layout"),
        (header_of({"a": TENSOR | {"shape": [-4]}}, b"1234"), "safetensors-header"),
        (header_of({"a": TENSOR | {"shape": [True]}}, b"1234"), "safetensors-header"),
        (header_of({"a": TENSOR | {"dtype": "O"}}, b"1234"), "safetensors-dtype"),
        (header_of({"a": TENSOR | {"more": 1}}, b"1234"), "safetensors-header"),
        (header_of({"a\u202eb": TENSOR}, b"1234"), "safetensors-name"),
        (header_of({"": TENSOR}, b"1234"), "safetensors-name"),
        (header_of({"__metadata__": {"a": 1}, "a": TENSOR}, b"1234"), "safetensors-metadata"),
        (header_of(b'{"a": {}, "a": {}}'), "safetensors-header"),
        (header_of(b'{"a": NaN}'), "safetensors-header"),
        (struct.pack("<Q", 1 << 40) + b"{}", "safetensors-header"),
    ],
)  # fmt: skip
def test_safetensors_are_read_strictly(judged, data, code):
    assert judged(data) == [code]


def test_what_the_library_writes_comes_in(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    np = pytest.importorskip("numpy")
    path = tmp_path / "weights"
    numpy.save_file({"w": np.ones((3, 4), np.float16), "none": np.zeros((0, 2))}, path, {"format": "np"})
    found = judge_model(path)
    assert found.allowed
    assert found.formats == {"weights": "safetensors"}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "custom-code"),
        ({"deep": [{"auto_map": {"AutoModel": "other/repo--modeling.Model"}}]}, "custom-code"),
        ({"class_name": "Lambda", "config": {}}, "keras-lambda"),
        ({"class_name": "Mine", "module": "mine.layers"}, "custom-code"),
        ({"chat_template": "{{ ''.__class__ }}"}, "template"),
        ({"chat_template": "{{ x|attr('y') }}"}, "template"),
    ],
)
def test_code_that_a_configuration_names_is_shown(judged, document, code):
    assert judged(json.dumps(document).encode(), "config.json") == [code]


def test_a_configuration_with_two_readings_is_refused(judged):
    assert judged(b'{"auto_map": {"a": "b"}, "auto_map": {}}', "config.json") == ["json-duplicate"]
    assert judged(b'{"auto_map": ', "config.json") == ["json-malformed"]


def test_an_ordinary_template_comes_in(judged):
    template = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
    assert judged(json.dumps({"chat_template": template}).encode(), "tokenizer_config.json") == []


def raw_zip(*members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name) if isinstance(name, str) else name, data)
    return target.getvalue()


def linked(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw_zip(("../a", b"1")), "archive-path"),
        (raw_zip(("/a", b"1")), "archive-path"),
        (raw_zip(("a/../../b", b"1")), "archive-path"),
        (raw_zip(("a\\b", b"1")), "archive-path"),
        (raw_zip(("C:a", b"1")), "archive-path"),
        (raw_zip(("a\nb", b"1")), "archive-path"),
        (raw_zip(("a", b"1"), ("A", b"2")), "archive-duplicate"),
        (raw_zip((linked("a"), b"/etc/passwd")), "archive-link"),
        (raw_zip(("a", b"1"))[:-30], "archive-broken"),
        (b"\0" * 8 + raw_zip(("a", b"1")), "archive-polyglot"),
        (raw_zip(("a", b"12345")).replace(b"12345", b"12346"), "archive-broken"),
        (raw_zip(("aa", b"1")).replace(b"aa", b"bb", 1), "archive-polyglot"),
        (gzip.compress(bytes(64 << 20)), "archive-bomb"),
        (bz2.compress(bytes(64 << 20)), "archive-bomb"),
        (gzip.compress(b"x" * 100)[:-9], "archive-broken"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "unread-format"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "unread-format"),
        (b"\x7fELF" + bytes(100), "unread-format"),
        (bytes(range(129, 256)) * 20, "unknown-format"),
    ],
)  # fmt: skip
def test_archives_have_one_reading_and_stay_where_they_are(judged, data, code):
    assert code in judged(data)


def entry(**fields):
    member = tarfile.TarInfo("a")
    for name, value in fields.items():
        setattr(member, name, value)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.addfile(member)
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (entry(name="../a"), "archive-path"),
        (entry(name="/a"), "archive-path"),
        (entry(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "archive-link"),
        (entry(type=tarfile.LNKTYPE, linkname="b"), "archive-link"),
        (entry(type=tarfile.CHRTYPE), "archive-link"),
        (entry(type=tarfile.FIFOTYPE), "archive-link"),
        (tar_of("a", b"1") + b"behind it", "archive-broken"),
        (tar_of("a", b"1" * 2000)[:1024], "archive-broken"),
    ],
)
def test_tars_hold_files_alone(judged, data, code):
    assert judged(data) == [code]


def test_archives_within_archives_end_somewhere(judged):
    data = b"the end"
    for _ in range(9):
        data = zip_of(a=data)
    assert judged(data) == ["too-deep"]


def test_too_many_files_are_refused(judged):
    data = raw_zip(*((str(number), b"") for number in range(20)))
    assert judged(data, limits=Limits(entries=10)) == ["too-many"]


def test_a_folder_is_judged_whole_and_links_are_not_followed(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(safetensors_of({"a": b"1234"}))
    assert judge_model(tmp_path).allowed
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert [finding.code for finding in judge_model(tmp_path).findings] == ["not-a-file"]
    (tmp_path / "link").unlink()
    os.mkfifo(tmp_path / "pipe")
    assert [finding.code for finding in judge_model(tmp_path).findings] == ["not-a-file"]
    (tmp_path / "pipe").unlink()
    (tmp_path / ".git").mkdir()
    assert [finding.code for finding in judge_model(tmp_path).findings] == ["repository"]


def test_what_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        judge_model(tmp_path / "none")


@given(st.binary(max_size=600))
def test_anything_is_judged_and_never_crashes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "model"
    path.write_bytes(data)
    judge_model(path)


SEEDS = [
    safetensors_of({"a": b"1234", "b": b"5"}, {"format": "pt"}), raw_zip(("a/b", b"1" * 40), ("c", b"")),
    tar_of("a", b"1" * 600), gzip.compress(b"text"), b'{"a": [1, {"b": null}]}',
]  # fmt: skip


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
def test_damaged_files_are_judged_and_never_crash(tmp_path_factory, seed, changes):
    data = bytearray(seed)
    for at, put in changes:
        at %= len(data)
        data[at : at + len(put)] = put
    path = tmp_path_factory.mktemp("damaged") / "model"
    path.write_bytes(data)
    judge_model(path)
