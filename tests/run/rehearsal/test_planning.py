"""What a run would do: waves, instances and both desks, with nothing run."""

from __future__ import annotations

import json

import pytest

from clearance.graph.model import Graph, Items, Node, Result, Value
from clearance.run.rehearsal.planning import plan
from clearance.settings import Settings
from clearance.store.database import Database
from run import rehearsed


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", workers=2)


def node(id: str, *upstream: str, cpu: int = 1000, **options) -> Node:
    return Node(id=id, function=f"m:{id}", upstream=upstream, resources={"cpu": cpu}, **options)


def told(found):
    return [[(one.task, one.capacity.verdict) for one in wave] for wave in found.waves]


def test_waves_follow_the_edges_and_the_room(settings):
    graph = Graph(dag="d", nodes=(node("a"), node("b"), node("c"), node("e", "a", "b"), node("f", "c", cpu=3000)))
    found = plan(graph, settings)
    assert told(found) == [
        [("a", "granted"), ("b", "granted"), ("c", "held")],
        [("e", "granted"), ("f", "denied")],
    ]
    assert [one.task for one in found.denied] == ["f"]
    assert found.cpu == 2000


def test_pools_are_those_of_the_installation(settings):
    graph = Graph(dag="d", nodes=(node("a", pool="gpu"), node("b", pool="gpu", pool_slots=3)))
    missing = plan(graph, settings).waves[0][0].capacity
    assert (missing.verdict, "pool 'gpu' is unknown" in missing.reason) == ("denied", True)
    settings.make_home()
    with Database(settings.database) as database:
        database.migrate()
        database.write("pool_put", "gpu", 2)
    assert told(plan(graph, settings)) == [[("a", "granted"), ("b", "denied")]]


def test_instances_are_counted_where_they_are_known(settings):
    graph = Graph(
        dag="d",
        nodes=(
            node("a"),
            node("m", mapped={"x": Value([1, 2, 3]), "y": Value([1, 2])}, product=True),
            node("n", "a", mapped={"x": Result("a")}),
            Node(id="g", function="", mapped={"x": Value([1] * 5)}),
            node("g.t", group="g", mapped={"y": Items((Value(1), Value(2)))}),
        ),
    )
    counts = {one.task: one.count for wave in plan(graph, settings).waves for one in wave}
    assert counts == {"a": 1, "m": 6, "n": None, "g.t": 10}


def test_a_large_map_is_not_opened(settings):
    graph = Graph(dag="d", nodes=(node("m", mapped={"x": Value([0] * 100_000)}),))
    (((one,),)) = plan(graph, settings).waves
    assert (one.count, one.capacity.verdict) == (100_000, "granted")


def test_what_the_trust_desk_will_ask_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEARANCE_HOME", str(tmp_path / "home"))
    found = rehearsed.sums.dry_run(count=7)
    first, *rest = [one for wave in found.waves for one in wave]
    assert first.trust.verdict == "granted"
    assert {one.trust.verdict for one in rest} == {"pending"}
    assert "what half made" in rest[1].trust.reason
    assert rehearsed.CALLS == []
    assert found.parameters == {"count": 7}
    assert not (tmp_path / "home").exists()


def test_the_command_runs_nothing(home, tmp_path):
    (tmp_path / "pipeline.py").write_text(
        "from clearance import dag, task\n"
        "@task\ndef a(n: int = 1) -> int: return n\n"
        "@task(resources={'cpu': 4000})\ndef b(n: int) -> int: return n\n"
        "good = dag('good', a)\nbad = dag('bad', a >> b)\n"
    )
    printed = home.command("run", "pipeline.py:good", "--dry-run")
    assert "dag good: 1 task in 1 wave; nothing was run" in printed
    found = json.loads(home.command("run", "pipeline.py:bad", "--dry-run", "--json", expect=3))
    assert [[one["task"] for one in wave] for wave in found["waves"]] == [["a"], ["b"]]
    assert "unknown" in home.command("run", "pipeline.py:good", "--dry-run", "-p", "m=1", expect=2)
    assert not (home.path / "clearance.db").exists()


def test_what_depends_on_a_condition_is_shown_with_it(home, tmp_path):
    (tmp_path / "pipeline.py").write_text(
        "from clearance import dag, task, when\n"
        "@task\ndef score() -> float: return 0.5\n"
        "@task\ndef ship() -> int: return 1\n"
        "@task\ndef stop() -> int: return 2\n"
        "@task\ndef tell(n: int) -> int: return n\n"
        "@dag\ndef gate():\n"
        "    best = score()\n"
        "    with when(best > 0.9):\n"
        "        tell(ship())\n"
        "    with when(best <= 0.9):\n"
        "        stop()\n"
    )
    found = json.loads(home.command("run", "pipeline.py", "--dry-run", "--json"))
    shown = {one["task"]: one["condition"] for wave in found["waves"] for one in wave}
    assert [sorted(one["task"] for one in wave) for wave in found["waves"]] == [["score"], ["ship", "stop"], ["tell"]]
    assert shown["score"] == ""
    assert shown["ship"] == shown["tell"] == "score > 0.9"
    assert "ship, depends on score > 0.9" in home.command("run", "pipeline.py", "--dry-run")


def test_what_the_cache_would_give_is_said_and_holds(home, tmp_path):
    text = (
        "from clearance import dag, task\n"
        "@task(cache=True)\ndef load(n: int = 1) -> list[int]: return [n]\n"
        "@task(cache=True)\ndef train(xs: list[int]) -> int: return len(xs){}\n"
        "@task\ndef tell(n: int) -> int: return n\n"
        "chain = dag('chain', load >> train >> tell)\n"
    )

    def cached(*options: str) -> list[str]:
        found = json.loads(home.command("run", "pipeline.py", "--dry-run", "--json", *options))
        return [one["cached"] for wave in found["waves"] for one in wave]

    (tmp_path / "pipeline.py").write_text(text.format(""))
    assert cached() == ["", "", ""]
    home.command("run", "pipeline.py")
    assert cached() == ["chain/1 load", "chain/1 train", ""]
    assert "the cache has the result of chain/1 load" in home.command("run", "pipeline.py", "--dry-run")
    assert cached("-p", "n=2") == ["", "", ""]
    (tmp_path / "pipeline.py").write_text(text.format(" + 1"))
    assert cached() == ["chain/1 load", "", ""]
    home.command("run", "pipeline.py")
    asked = {
        task: json.loads(home.command("cache", "explain", "chain/2", task, "--json")) for task in ("load", "train")
    }
    assert [asked["load"]["outcome"], asked["train"]["outcome"]] == ["hit", "miss"]
