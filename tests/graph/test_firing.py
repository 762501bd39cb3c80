"""What a DAG says beside its schedule, and what its tasks write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from clearance.errors import GraphError, UsageError
from clearance.graph import model
from clearance.graph.asset import asset
from clearance.graph.firing import waits_for
from clearance.graph.schedule import cron, every
from clearance.types.written import Written

A, B, C = asset("s3://lake/a"), asset("s3://lake/b"), asset("s3://lake/c")
WORK = "from clearance import asset, cron, every\n@task\ndef work() -> int: ...\n"


def test_the_part_of_a_schedule_that_waits_for_assets():
    assert waits_for(None) is None
    assert waits_for(cron("0 5 * * *") | every("1h")) is None
    assert waits_for(A) == A.uri
    assert waits_for(every("1h") | A) == A.uri
    assert waits_for(every("1h") | A | (B & C)) == ["any", A.uri, ["all", B.uri, C.uri]]
    assert waits_for((A | B) & C) == ["all", ["any", A.uri, B.uri], C.uri]


def test_the_graph_holds_what_was_said_and_nothing_else(made):
    said = made(WORK + "one = dag('one', work, schedule=asset('s3://x/a'), debounce='5m', max_active_runs=2)").graph()
    assert (said.firing.mode, said.firing.debounce, said.firing.max_active) == ("drain", 300.0, 2)
    assert model.decode(model.encode(said)) == said
    plain = made(WORK + "one = dag('one', work, schedule=every('1h'))").graph()
    assert plain.firing is None
    assert b"firing" not in model.encode(plain)


def test_start_is_an_instant(made):
    head = "from datetime import datetime, timezone\n"
    one = made(
        head + WORK + "one = dag('one', work, schedule=every('1h'), start=datetime(2026, 1, 1, tzinfo=timezone.utc))"
    )
    assert model.decode(model.encode(one.graph())).firing.start == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("mode='each'", "mode belongs to a schedule: add schedule="),
        ("schedule=every('1h'), mode='each'", "waits for no asset"),
        ("schedule=every('1h'), debounce=3", "waits for no asset"),
        ("schedule=asset('s3://x/a'), mode='eech'", "did you mean 'each'"),
        ("schedule=asset('s3://x/a') & asset('s3://x/b'), mode='each'", "each follows one asset"),
        ("schedule=asset('s3://x/a'), mode='rollup'", "a rollup needs expect"),
        ("schedule=asset('s3://x/a') | asset('s3://x/b'), mode='rollup', expect=2", "use all instead of any"),
        ("schedule=asset('s3://x/a'), expect=2", "expect belongs to rollup"),
        ("schedule=asset('s3://x/a'), mode='key', debounce=2", "debounce belongs to drain"),
        ("schedule=asset('s3://x/a'), debounce='soon'", "debounce"),
        ("schedule=every('1h'), max_active_runs=0", "max_active_runs is 0"),
        ("schedule=every('1h'), max_active_runs=True", "max_active_runs is True"),
        ("schedule=every('1h'), start='2026-01-01'", "write an instant with its zone"),
        ("schedule=asset('s3://x/a'), start=__import__('datetime').datetime.now().astimezone()", "fires by time"),
        ("schedule=every('1h'), max_active_run=2", "did you mean 'max_active_runs'"),
    ],
)
def test_what_is_wrong_is_refused_with_the_mend(refused, said: str, told: str):
    assert told in refused(WORK + f"one = dag('one', work, {said})")


def test_outlets_are_assets_each_once(made, refused):
    head = "from clearance import asset\nA = asset('s3://x/a')\n"
    text = head + "@task(outlets={})\ndef work() -> int: ...\none = dag('one', work)"
    assert made(text.format("[A, asset('S3://x/a/')]")).graph().nodes[0].outlets == ("s3://x/a",)
    assert made(text.format("A")).graph().nodes[0].outlets == ("s3://x/a",)
    assert made(text.format("()")).graph().nodes[0].outlets == ()
    assert "write a list of assets, for example [asset('s3://x/a')]" in refused(text.format("['s3://x/a']"))
    assert "write a list of assets" in refused(text.format("3"))


def test_what_a_task_returns_names_the_asset_and_the_partition():
    assert A.written(key="eu") == Written("s3://lake/a", "eu")
    assert A.written() == Written("s3://lake/a")
    for key in ("", 3):
        with pytest.raises(UsageError, match="write a text"):
            A.written(key)  # type: ignore[arg-type]


def test_a_list_of_graphs_is_taken_apart():
    graphs = [model.encode(model.Graph(dag=name)) for name in ("one", "two")]
    assert model.split(model.join(graphs)) == graphs
    assert model.split(graphs[0]) == graphs[:1]
    with pytest.raises(GraphError):
        model.decode(model.join(graphs))
