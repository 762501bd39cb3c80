"""The source bundle: what is in it, that it is deterministic, and that a wrong one is never unpacked."""

import io
import os
import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearance.errors import Corrupt, GraphError, UsageError
from clearance.graph import bundle
from clearance.graph.bundle import make_bundle, unpack
from clearance.types.digest import Digest, digest_of

NAMES = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6})?\.txt", fullmatch=True)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / next(iter(files))


def include(*patterns):
    return f"[bundle]\ninclude = {list(patterns)!r}\n"


def test_a_bundle_holds_the_file_and_what_it_imports(tmp_path):
    made = make_bundle(write(tmp_path, {"p.py": "import helper", "helper.py": "", "other.py": ""}))
    assert (made.files, made.module, made.root) == (("helper.py", "p.py"), "p", tmp_path)
    assert made.digest == digest_of(made.data)


def test_equal_files_give_equal_bytes_wherever_and_whenever_they_are(tmp_path):
    files = {"p.py": "import helper", "helper.py": "x = 1"}
    one, two = write(tmp_path / "one", files), write(tmp_path / "two", dict(reversed(files.items())))
    os.utime(one, (1, 1))
    one.chmod(0o600)
    assert make_bundle(one).data == make_bundle(tmp_path / "two" / "p.py").data
    two.write_text("x = 2")
    assert make_bundle(one).digest != make_bundle(tmp_path / "two" / "p.py").digest


def test_a_file_name_with_a_dash_works(tmp_path):
    assert make_bundle(write(tmp_path, {"my-pipe.py": ""})).module == "my-pipe"


def test_a_pipeline_in_a_package_is_bundled_from_the_package_root(tmp_path):
    files = {"src/pkg/p.py": "from . import h", "src/pkg/h.py": "", "src/pkg/__init__.py": ""}
    made = make_bundle(write(tmp_path, files))
    assert (made.module, made.root, len(made.files)) == ("pkg.p", tmp_path / "src", 3)


@settings(max_examples=25)
@given(st.dictionaries(NAMES, st.binary(max_size=50), max_size=5))
def test_unpacking_gives_back_every_byte(files):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "in"
        write(root, {"p.py": "", "clearance.toml": include("*.txt", "**/*.txt") if files else ""})
        for name, data in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(data)
        try:
            made = make_bundle(root / "p.py")
        except UsageError:  # a pattern that names nothing
            return
        unpack(made.data, Path(place) / "out", made.digest)
        for name, data in files.items():
            assert (Path(place) / "out" / name).read_bytes() == data


def test_the_executable_bit_travels(tmp_path):
    file = write(tmp_path / "in", {"p.py": "", "run.sh": "", "clearance.toml": include("run.sh")})
    (file.parent / "run.sh").chmod(0o700)
    unpack(make_bundle(file).data, tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out" / "p.py").stat().st_mode) == 0o644


def test_secrets_are_left_out_of_patterns(tmp_path):
    files = {"p.py": "", ".env": "", "k.pem": "", "id_rsa": "", ".git/config": "", "a.json": "", "d/.env.local": ""}
    file = write(tmp_path, {**files, "clearance.toml": include("**/*")})
    assert make_bundle(file).files == ("a.json", "clearance.toml", "p.py")


def test_a_folder_may_be_included(tmp_path):
    file = write(tmp_path, {"p.py": "", "data/a.json": "", "data/deep/b.json": "", "clearance.toml": include("data")})
    assert make_bundle(file).files == ("data/a.json", "data/deep/b.json", "p.py")


@pytest.mark.parametrize(
    ("settings_text", "message"),
    [
        (include("../secret"), "only what lies under"),
        (include("/etc/passwd"), "only what lies under"),
        (include("missing.json"), "no such file"),
        (include("*.nothing"), "no such file"),
        ("[bundle]\ninclud = []", "did you mean 'include'"),
        ("[bundle]\ninclude = 3", "write a list"),
        ("bundle = 3", r"write \[bundle\]"),
        ("[bundle", "clearance.toml"),
    ],
)
def test_a_wrong_include_is_refused(tmp_path, settings_text, message):
    with pytest.raises(UsageError, match=message):
        make_bundle(write(tmp_path, {"p.py": "", "clearance.toml": settings_text}))


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "outside.py").write_text("x = 1")
    file = write(tmp_path / "root", {"p.py": "import linked"})
    (file.parent / "linked.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(UsageError, match=r"linked.py is a link that leads out"):
        make_bundle(file)


def test_a_link_inside_the_root_brings_the_content(tmp_path):
    file = write(tmp_path, {"p.py": "import linked", "real.py": "x = 1"})
    (tmp_path / "linked.py").symlink_to("real.py")
    unpack(make_bundle(file).data, tmp_path / "out")
    assert not (tmp_path / "out" / "linked.py").is_symlink()
    assert (tmp_path / "out" / "linked.py").read_text() == "x = 1"


def test_a_bundle_that_is_too_big_names_the_biggest_file(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    file = write(tmp_path, {"p.py": "", "big.bin": "x" * 2000, "clearance.toml": include("big.bin")})
    with pytest.raises(UsageError, match=r"big.bin: .*make it a Dataset"):
        make_bundle(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nope.py", "does not exist"), ("p.txt", "no Python file"), (".", "no Python file"), ("a.b.py", "rename")],
)
def test_a_file_that_is_no_pipeline_is_refused(tmp_path, name, message):
    write(tmp_path, {"p.txt": "", "a.b.py": ""})
    with pytest.raises(UsageError, match=message):
        make_bundle(tmp_path / name)


def test_a_syntax_error_is_named(tmp_path):
    with pytest.raises(GraphError, match=r"p.py:1: "):
        make_bundle(write(tmp_path, {"p.py": "def ("}))


def test_unpacking_twice_is_harmless_and_leaves_no_scratch(tmp_path):
    made = make_bundle(write(tmp_path / "in", {"p.py": "x = 1"}))
    for _ in range(2):
        unpack(made.data, tmp_path / "bundles" / "one")
    assert [entry.name for entry in (tmp_path / "bundles").iterdir()] == ["one"]


def archive(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            file.writestr(entry, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive([("../x", 0o100644)]),
        archive([("/x", 0o100644)]),
        archive([("a/../../x", 0o100644)]),
        archive([("a\\..\\x", 0o100644)]),
        archive([("a//b", 0o100644)]),
        archive([("link", stat.S_IFLNK | 0o777)]),
        archive([("a/", 0o040755)]),
        b"not a zip",
        b"",
    ],
)
def test_an_unsafe_or_broken_bundle_is_never_unpacked(tmp_path, data):
    with pytest.raises(Corrupt):
        unpack(data, tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_double_name_is_refused(tmp_path):
    with pytest.raises(Corrupt):
        unpack(archive([("a", 0o100644), ("a", 0o100644)]), tmp_path / "out")


def test_another_digest_is_refused(tmp_path):
    made = make_bundle(write(tmp_path, {"p.py": ""}))
    with pytest.raises(Corrupt, match="fetch it again"):
        unpack(made.data, tmp_path / "out", Digest("sha256:" + "0" * 64))


def test_a_changed_byte_is_found(tmp_path):
    made = make_bundle(write(tmp_path, {"p.py": "value = 12345"}))
    with pytest.raises(Corrupt):
        unpack(made.data.replace(b"12345", b"12346"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_that_grows_too_big_is_refused(tmp_path, monkeypatch):
    made = make_bundle(write(tmp_path, {"p.py": "x" * 2000}))
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    with pytest.raises(Corrupt, match="unpacks to more"):
        unpack(made.data, tmp_path / "out")
