"""Which files of its own a pipeline needs."""

import pytest

from clearance.errors import GraphError
from clearance.graph.imports import own_modules


@pytest.fixture
def names(tmp_path):
    """Writes files and returns the names that importing the first module needs."""

    def find(files, module):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return sorted(own_modules(tmp_path, module))

    return find


def test_imports_are_followed_transitively_and_circles_end(names):
    files = {"p.py": "import a, json, numpy", "a.py": "from b import x", "b.py": "import p\nx = 1", "unused.py": ""}
    assert names(files, "p") == ["a.py", "b.py", "p.py"]


def test_packages_bring_their_init_files(names):
    files = {
        "p.py": "from pkg.sub import leaf",
        "pkg/__init__.py": "",
        "pkg/sub/__init__.py": "from ..other import y",
        "pkg/sub/leaf.py": "from . import sibling\nfrom .. import third",
        "pkg/sub/sibling.py": "",
        "pkg/other.py": "y = 1",
        "pkg/third.py": "",
        "pkg/unused.py": "",
    }
    assert names(files, "p") == sorted(set(files) - {"pkg/unused.py"})


def test_a_pipeline_in_a_package(names):
    files = {"pkg/__init__.py": "", "pkg/p.py": "from .helper import x", "pkg/helper.py": "from .... import far"}
    assert names(files, "pkg.p") == sorted(files)


def test_a_folder_without_an_init_file_is_a_namespace_package(names):
    assert names({"p.py": "import space.deep.m", "space/deep/m.py": ""}, "p") == ["p.py", "space/deep/m.py"]


def test_imports_inside_functions_and_by_text_are_found(names):
    files = {
        "p.py": "import importlib\ndef f():\n    import late\n    importlib.import_module('by_text')\n"
        "    Service('server:main')\n    task(preload=['warm'])",
        "late.py": "",
        "by_text.py": "",
        "server.py": "",
        "warm.py": "",
    }
    assert names(files, "p") == sorted(files)


def test_a_file_that_is_not_python_is_named_with_its_line(names):
    with pytest.raises(GraphError, match=r"a.py:2: "):
        names({"p.py": "import a", "a.py": "x = 1\ndef ("}, "p")
    with pytest.raises(GraphError, match=r"n.py"):
        names({"p.py": "import n", "n.py": "x = '\0'"}, "p")


def test_clearance_itself_never_travels(names):
    assert names({"p.py": "import clearance.graph", "clearance/graph.py": ""}, "p") == ["p.py"]
