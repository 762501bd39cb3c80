"""The low-level builder, fed with plain data: the shared bad graphs, and random DAGs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import GraphError, NotSerialisable
from clearance.graph.build import Declaration, build
from clearance.graph.model import Result, Value, decode, encode, graph_digest
from clearance.graph.options import options
from clearance.graph.origin import Site
from clearance.graph.schedule import cron
from clearance.graph.signature import Signature

FLOW = Path(__file__).parents[3] / "shared" / "data" / "flow" / "bad_graphs.json"
REASONS = {
    "self_loop": r"task 'a' \(bad.json:1\) waits for itself: a -> a",
    "cycle_3": "a -> b -> c -> a",
    "duplicate_id": "at bad.json:1 and at bad.json:2",
    "unknown_upstream": "'ghost' is unknown",
    "path_traversal_id": "'../../etc/cron.d/x' is not allowed",
    "type_mismatch": r"parameter 'x' wants str, but 'a' returns int",
    "no_codec": "socket.socket has no serializer",
    "map_over_scalar": r"mapped over the result of task 'a' \(bad.json:1\), which is int and no list",
    "trigger_rule_typo": "did you mean 'all_success'",
    "resources_unknown": "'gppu'; did you mean 'gpu'",
    "cron_bad": r"test_build.py:\d+: cron '61 \* \* \* \*': minute is 61: 0 to 59",
}


def kind(name: str) -> Any:
    import socket

    return {"int": int, "str": str, "socket.socket": socket.socket}[name]


def declare(tasks: list[dict[str, Any]]) -> list[Declaration]:
    """Makes declarations of the API-neutral JSON form."""
    found = []
    for line, one in enumerate(tasks, 1):
        returns = list[Any] if "value" in one else kind(one["returns"]) if "returns" in one else Any
        parameters = {name: kind(text) for name, text in one.get("params", {}).items()}
        mapped = {}
        if "map_over" in one:
            parameters = {"item": Any}
            mapped = {"item": Result(one["map_over"])}
        upstream = [*one["up"], *([one["map_over"]] if "map_over" in one else [])]
        found.append(
            Declaration(
                one["id"],
                Signature(f"task {one['id']!r} (bad.json:{line})", parameters, returns),
                site=Site("bad.json", line),
                options=options(resources=one.get("resources"), trigger_rule=one.get("rule", "all_success")),
                mapped=mapped,
                upstream=dict.fromkeys(upstream),
            )
        )
    return found


def cases() -> list[Any]:
    if not FLOW.is_file():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{FLOW} is missing"))]
    return [pytest.param(case, id=case["name"]) for case in json.loads(FLOW.read_text())["cases"]]


@pytest.mark.parametrize("case", cases())
def test_the_shared_bad_graphs(case):
    if case["expect"] == "accept":
        assert build("d", declare(case["tasks"])).nodes
    else:
        with pytest.raises(GraphError, match=REASONS[case["name"]]):
            build("d", declare(case["tasks"]), schedule=cron(case["schedule"]) if "schedule" in case else None)


def test_an_unknown_upstream_names_the_nearest():
    with pytest.raises(GraphError, match="'trian' is unknown; did you mean 'train'"):
        build("d", declare([{"id": "train", "up": []}, {"id": "serve", "up": ["trian"]}]))


def test_no_serializer_is_an_error_of_its_own_class():
    with pytest.raises(NotSerialisable):
        build("d", declare([{"id": "a", "up": [], "returns": "socket.socket"}]))


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "..", "a..b", ".a", "-a", "a\n", "é", "a" * 201, "a\0"])
def test_an_unsafe_id_is_refused(name):
    with pytest.raises(GraphError, match="not allowed"):
        build("d", declare([{"id": name, "up": []}]))


@pytest.mark.parametrize("name", ["a", "_a", "a.b", "a-b", "A9_", "a" * 200])
def test_a_safe_id_is_accepted(name):
    assert build("d", declare([{"id": name, "up": []}])).nodes[0].id == name


def test_a_long_cycle_is_shown_in_short():
    tasks = [{"id": f"t{index}", "up": [f"t{(index - 1) % 50_000}"]} for index in range(50_000)]
    with pytest.raises(GraphError, match=r"t\d+ -> .*… \(\d+ more\)"):
        build("d", declare(tasks))


def test_an_element_type_that_does_not_fit_is_refused():
    one = Declaration("a", Signature("task 'a'", {}, list[int]))
    two = Declaration("m", Signature("task 'm'", {"s": str}, int), mapped={"s": Result("a")}, upstream={"a": None})
    with pytest.raises(GraphError, match="wants str, but an element of the result of task 'a' is int"):
        build("d", [one, two])


def test_the_result_of_a_mapped_task_is_a_list():
    one = Declaration("m", Signature("task 'm'", {"s": str}, int), mapped={"s": Value(["x"])})
    two = Declaration("j", Signature("task 'j'", {"n": int}, int), upstream={"m": None})
    with pytest.raises(GraphError, match=r"wants int, but 'm' returns list\[int\]"):
        build("d", [one, two])


@st.composite
def random_dags(draw):
    count = draw(st.integers(1, 30))
    names = draw(st.permutations([f"t{index}" for index in range(count)]))
    tasks = []
    for index, name in enumerate(names):
        ups = draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=4)) if index else []
        tasks.append({"id": name, "up": ups})
    return draw(st.permutations(tasks))


@given(random_dags())
def test_every_node_comes_after_its_upstreams(tasks):
    graph = build("d", declare(tasks))
    seen: set[str] = set()
    for node in graph.nodes:
        assert set(node.upstream) <= seen
        seen.add(node.id)
    assert len(seen) == len(tasks)


@given(random_dags())
def test_decode_reads_what_encode_wrote(tasks):
    graph = build("d", declare(tasks))
    assert decode(encode(graph)) == graph
    assert graph_digest(decode(encode(graph))) == graph_digest(graph)


@given(random_dags(), st.data())
def test_a_back_edge_is_always_found(tasks, data):
    graph = build("d", declare(tasks))
    late = data.draw(st.sampled_from(graph.nodes))
    reach = {late.id}
    for node in reversed(graph.nodes):
        if any(node.id in other.upstream for other in graph.nodes if other.id in reach):
            reach.add(node.id)
    early = data.draw(st.sampled_from(sorted(reach)))
    changed = [dict(one, up=[*one["up"], late.id]) if one["id"] == early else one for one in tasks]
    with pytest.raises(GraphError, match="waits for itself"):
        build("d", declare(changed))


def test_the_digest_does_not_depend_on_the_hash_seed(tmp_path):
    (tmp_path / "seeded.py").write_text(
        "from clearance import dag, task\n"
        "@task\ndef a(kinds: set[str], table: dict[str, int]) -> int: ...\n"
        "@task(retries=2, resources={'cpu': 1, 'memory': '1Gi', 'gpu': 1})\ndef b(x: int) -> int: ...\n"
        "d = dag('d', a.partial(kinds={'x', 'y', 'z', 'w'}, table={'q': 1, 'p': 2}) >> b)\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from clearance.graph.loading import define\n"
        "from clearance.types.digest import digest_of\n"
        "print(digest_of(define('seeded', '', {})))"
    )
    found = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": "/usr/bin"},
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert found.pop().startswith("sha256:")
