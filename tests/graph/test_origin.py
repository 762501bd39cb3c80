"""Where things were written, without a path of this machine."""

from pathlib import Path

from clearance.graph.origin import Site, bundle_path, locate


def test_the_root_is_the_first_parent_that_is_no_package(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/__init__.py", "a/b/__init__.py", "a/b/p.py", "single.py"):
        (tmp_path / name).touch()
    assert locate(tmp_path / "a" / "b" / "p.py") == (tmp_path, "a.b.p")
    assert locate(tmp_path / "a" / "b" / "__init__.py") == (tmp_path, "a.b")
    assert locate(tmp_path / "single.py") == (tmp_path, "single")


def test_paths_follow_from_the_module_name():
    assert bundle_path("p", "/p/p.py") == "p.py"
    assert bundle_path("a.b.p", "/p/a/b/p.py") == "a/b/p.py"
    assert bundle_path("a.b", "/p/a/b/__init__.py") == "a/b/__init__.py"


def test_a_site_reads_as_file_and_line():
    assert str(Site("p.py", 3)) == "p.py:3"
    assert str(Site()) == "unknown place"
    assert Path(Site("p.py", 3).file).name == "p.py"
