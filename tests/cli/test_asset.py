"""`clearance asset replay`."""

import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CLEARANCE_BENCH_DATA", Path(__file__).parents[3] / "shared/data")) / "flow"
TRACE = {
    "id": 7,
    "subs": [{"name": "train", "mode": "key", "on": ["all", "a", "b"]}],
    "ops": [
        {"op": "event", "t": 1, "asset": "a", "key": "eu"},
        {"op": "event", "t": 2, "asset": "b", "key": "eu"},
        {"op": "done", "t": 3, "run": 0},
    ],
}


@pytest.fixture
def traces(tmp_path):
    file = tmp_path / "traces.json"

    def write(data):
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return file

    return write


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data are not at {DATA}")
def test_the_recorded_traces_give_their_runs(clearance):
    file = DATA / "mediator_traces.json"
    done = clearance("asset", "replay", file, "--json")
    recorded = json.loads(file.read_text())["traces"]
    assert json.loads(done.out) == [{"id": trace["id"], "runs": trace["runs"]} for trace in recorded]


def test_a_replay_is_a_table_or_json_and_leaves_nothing_at_home(clearance, traces, home):
    file = traces({"traces": [TRACE]})
    assert clearance("asset", "replay", file).out.splitlines() == [
        "TRACE  RUN  SUBSCRIPTION  AT  KEY  EVENTS",
        "7      0    train         2   eu   1, 2",
    ]
    run = {"sub": "train", "t": 2, "events": [1, 2], "key": "eu"}
    assert json.loads(clearance("asset", "replay", file, "--json").out) == [{"id": 7, "runs": [run]}]
    assert not home.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{", "is not JSON"),
        ({"dags": []}, 'a file of traces is {"traces"'),
        ({"traces": [3]}, "trace 0: a trace is"),
        (
            {"traces": [TRACE | {"subs": [{"name": "x", "on": "a", "mode": "al"}]}]},
            "trace 7: subscription 'x': no mode",
        ),
        ({"traces": [TRACE | {"subs": [3]}]}, "trace 7: a subscription is"),
        ({"traces": [TRACE | {"subs": TRACE["subs"] * 2}]}, "two subscriptions are named 'train'"),
        ({"traces": [TRACE | {"ops": [{"op": "done", "t": 1, "run": 5}]}]}, "operation 0: run 5 has not been started"),
        ({"traces": [TRACE | {"ops": [{"op": "evnt", "t": 1}]}]}, "did you mean 'event'"),
        ({"traces": [TRACE | {"ops": [{"op": "tick"}]}]}, 'and "t" in seconds'),
        ({"traces": [TRACE | {"ops": [{"op": "pause", "t": 1, "sub": "trian"}]}]}, "did you mean 'train'"),
        ({"traces": [TRACE | {"ops": [{"op": "event", "t": 1, "asset": "s3://a#b"}]}]}, "write 's3://a'"),
        ({"traces": [TRACE | {"ops": [{"op": "event", "t": 1, "asset": "a", "key": 5}]}]}, "use a text"),
    ],
)
def test_what_is_wrong_is_2_and_one_line(clearance, traces, data, told):
    done = clearance("asset", "replay", traces(data), "--json")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert told in done.err


def test_a_missing_file_is_2(clearance):
    done = clearance("asset", "replay", "nope.json")
    assert (done.code, done.err) == (2, "error: nope.json: No such file or directory\n")
