"""`clearance cluster simulate`: a trace in, figures and a folder out."""

import json

import pytest

TRACE = "job,queue,submit_s,gpus,duration_s\na,q,0,4,100\nb,q,1,8,50\nc,q,2,2,200\n"
QUEUES = """
partitions:
- name: default
  queues:
  - {name: root, submitacl: "*", queues: [{name: q}]}
"""


@pytest.fixture
def trace(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text(TRACE)
    return str(file)


def test_it_prints_figures_and_writes_a_folder(clearance, trace, tmp_path):
    (tmp_path / "queues.yaml").write_text(QUEUES)
    code, out, err = clearance(
        "cluster", "simulate", trace, "--nodes", "1x8gpu", "--queues", str(tmp_path / "queues.yaml"),
        "--backfill", "sjbf", "--estimates", "exact", "--against-fifo", "--report", str(tmp_path / "out"),
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "3 submitted, 3 finished" in out
    assert "2 made, 0 broken" in out
    assert "later than under plain FIFO" in out
    assert (tmp_path / "out/index.html").exists()


def test_json_is_the_whole_report(clearance, trace):
    code, out, _ = clearance("cluster", "simulate", trace, "--nodes", "1x8gpu", "--against-fifo", "--json")
    data = json.loads(out)
    assert (code, data["finished"], data["later_than_fifo"]) == (0, 3, pytest.approx(1 / 3))


def test_faults_of_nodes_are_carried_out_and_counted(clearance, trace, tmp_path):
    (tmp_path / "faults.jsonl").write_text('{"type":"signal","at":60,"node":"node0","kind":"gpu_error","value":79}\n')
    code, out, err = clearance(
        "cluster", "simulate", trace, "--nodes", "2x8gpu", "--health", str(tmp_path / "faults.jsonl")
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "0 failed, 1 drained, 0 cordoned" in out
    assert "work lost" in out
    code, out, err = clearance("cluster", "simulate", trace, "--nodes", "1x8gpu", "--health", trace)
    assert (code, out) == (2, "")
    assert "line 1" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "the trace tells of no nodes: name them"),
        (("--nodes", "1x8gpu", "--policy", "binpaking"), "did you mean 'binpacking'"),
        (("--nodes", "1x8gpu", "--backfill", "esay"), "did you mean 'easy'"),
        (("--nodes", "1x8gpu", "--estimates", "wrong:1"), "write two positive factors in order"),
        (("--nodes", "nowhere"), "or count them, such as 40x8gpu"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(clearance, trace, options, message):
    code, out, err = clearance("cluster", "simulate", trace, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_file_of_queues_is_checked_whole(clearance, tmp_path):
    file, other = tmp_path / "queues.yaml", tmp_path / "other.yaml"
    file.write_text(QUEUES)
    other.write_text(QUEUES.replace("[{name: q}]", "[{name: q}, {name: r}]"))
    code, out, err = clearance("cluster", "validate", str(other), "--against", str(file))
    assert (code, err) == (0, "")
    assert "queue root.r added" in out
    other.write_text(QUEUES.replace("{name: q}", "{name: q, resources: {max: {vcore: -1}}, colour: red}"))
    code, out, err = clearance("cluster", "validate", str(other))
    assert (code, out) == (2, "")
    assert "line 5" in err
    assert "colour" in err
    assert "negative" in err
