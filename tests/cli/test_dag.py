"""`clearance dag check|list|show`."""

import json

from clearance.graph.model import Graph, graph_digest


def test_check_says_what_is_there(clearance, pipeline):
    done = clearance("dag", "check", f"{pipeline}:digits")
    assert done.code == 0
    assert done.out.startswith("digits: ok, 2 tasks, 1 edge, sha256:")
    assert "bundle: 1 file, " in done.out


def test_check_reads_parameters_by_their_types(clearance, pipeline):
    assert clearance("dag", "check", f"{pipeline}:search").err == (
        "error: dag 'search' (pipe.py:10): parameter 'limit' (int) is missing\n"
    )
    assert clearance("dag", "check", f"{pipeline}:search", "-p", "limit=5").code == 0
    done = clearance("dag", "check", f"{pipeline}:search", "-p", "limit=x")
    assert (done.code, done.err) == (2, "error: dag 'search': parameter 'limit' wants int, not 'x'\n")


def test_check_of_a_wrong_pipeline_is_2_and_one_line(clearance, pipeline):
    pipeline.write_text("import nothing_here\n")
    done = clearance("dag", "check", pipeline)
    assert done.code == 2
    assert done.err.startswith("error: pipe.py:1: ModuleNotFoundError")
    assert done.err.count("\n") == 1


def test_parameters_for_several_dags_are_refused(clearance, pipeline):
    done = clearance("dag", "check", pipeline, "-p", "limit=1")
    assert done.code == 2
    assert "say which" in done.err


def test_check_as_json(clearance, pipeline):
    data = json.loads(clearance("dag", "check", f"{pipeline}:digits", "--json").out)
    assert data["dags"][0]["dag"] == "digits"
    assert data["bundle"]["files"] == ["pipe.py"]


def test_list_shows_the_parameters(clearance, pipeline):
    lines = clearance("dag", "list", pipeline).out.splitlines()
    assert lines[0].split() == ["DAG", "LINE", "PARAMETERS"]
    assert "limit: int = 10, lr: float = 0.1" in lines[1]
    data = json.loads(clearance("dag", "list", pipeline, "--json").out)
    assert data[1] == {"dag": "search", "line": 10, "parameters": ["limit: int"], "doc": "Tries learning rates."}


def test_show_prints_the_layers(clearance, pipeline):
    out = clearance("dag", "show", f"{pipeline}:search", "-p", "limit=5").out
    assert out.splitlines()[1].split()[:3] == ["1", "fetch", "limit=5"]
    assert "lr over [0.1, 0.2]" in out
    assert "gang of 2, 3 retries, timeout 600 s" in out


def test_show_as_json_is_the_graph(clearance, pipeline):
    import msgspec

    out = clearance("dag", "show", f"{pipeline}:digits", "--json").out
    graph = msgspec.json.decode(out, type=Graph)
    digest = clearance("dag", "check", f"{pipeline}:digits", "--json").out
    assert graph_digest(graph) == json.loads(digest)["dags"][0]["digest"]


def test_show_draws_files(clearance, pipeline, tmp_path):
    done = clearance("dag", "show", f"{pipeline}:digits", "--svg", tmp_path / "d.svg", "--png", tmp_path / "d.png")
    assert done == (0, "", "")
    assert (tmp_path / "d.svg").read_text().startswith("<svg")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_a_drawing_into_a_missing_folder_is_refused_and_nothing_is_written(clearance, pipeline, tmp_path):
    done = clearance(
        "dag", "show", f"{pipeline}:digits", "--svg", tmp_path / "d.svg", "--png", tmp_path / "no" / "d.png"
    )
    assert done.code == 2
    assert "does not exist" in done.err
    assert not (tmp_path / "d.svg").exists()


def test_png_without_matplotlib_names_the_pip_line(clearance, pipeline, tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = clearance("dag", "show", f"{pipeline}:digits", "--png", tmp_path / "d.png")
    assert (done.code, done.err) == (2, "error: matplotlib is not installed: pip install 'clearance[plot]'\n")


def test_a_missing_file_is_2(clearance):
    done = clearance("dag", "check", "nope.py")
    assert done.code == 2
    assert "nope.py does not exist" in done.err
