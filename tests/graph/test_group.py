"""Groups: ids, what a mapped one becomes as data, what it looks like from outside, and what is refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from clearance import dag, group, task
from clearance.errors import GraphError
from clearance.graph.model import Element, Result, Value, decode, encode


@task
def files() -> list[str]: ...


@task
def clean(path: str) -> dict[str, int]: ...


@task
def parts(record: dict[str, int]) -> list[int]: ...


@task
def weigh(part: int, scale: int = 1) -> float: ...


@task
def total(weights: list[float]) -> float: ...


@task
def report(totals: list[float]) -> str: ...


@task
def deep(weights: list[list[float]]) -> str: ...


@task
def nothing() -> None: ...


@group
def prepare(path: str, scale: int = 1):
    return total(weigh.partial(scale=scale).map(part=parts(clean(path))))


@group
def outer(paths):
    return prepare.map(path=paths)


@task
def lists() -> list[list[str]]: ...


def nodes(made) -> dict[str, Any]:
    graph = made.graph()
    assert decode(encode(graph)) == graph
    return {node.id: node for node in graph.nodes}


def test_a_mapped_group_is_one_node_with_its_tasks_standing_in_it_once():
    @dag
    def digits():
        report(prepare.partial(scale=3).map(path=files(), concurrency=4))

    found = nodes(digits)
    assert list(found) == [
        "files", "prepare", "prepare.clean", "prepare.parts", "prepare.weigh", "prepare.total", "report",
    ]  # fmt: skip
    assert found["prepare"].is_group
    assert found["prepare"].mapped == {"path": Result("files")}
    assert found["prepare"].copies == 4
    assert found["prepare.clean"].inputs == {"path": Element("prepare", "path")}
    assert {found[f"prepare.{name}"].group for name in ("clean", "parts", "weigh", "total")} == {"prepare"}
    assert found["prepare.weigh"].inputs == {"scale": Value(3)}
    assert found["report"].upstream == ("prepare.total",)


def test_outside_the_result_is_a_list_and_a_list_of_lists_through_two_groups():
    @dag
    def right():
        deep(outer.map(paths=lists()))

    assert nodes(right)["outer.prepare"].mapped == {"path": Element("outer", "paths")}

    @dag
    def wrong():
        report(outer.map(paths=lists()))

    with pytest.raises(
        GraphError, match=r"wants list\[float\], but task 'outer.prepare.total' .* list\[list\[float\]\]"
    ):
        wrong.graph()


def test_an_element_is_checked_against_what_takes_it():
    @group
    def bad(count: int):
        clean(count)

    @dag
    def one():
        bad.map(count=[1, 2])

    with pytest.raises(GraphError, match=r"parameter 'path' wants str, but 'count' of group 'bad' .* is int"):
        one.graph()

    @group
    def unsaid(each):
        clean(each)

    @dag
    def two():
        unsaid.map(each=numbers_of())

    with pytest.raises(GraphError, match=r"wants str, but 'each' of group 'unsaid' .* is int"):
        two.graph()


@task
def numbers_of() -> list[int]: ...


def test_a_block_only_prefixes_and_can_be_joined():
    @dag
    def made():
        with group("in") as block:
            clean.map(path=files())
        block >> nothing()
        nothing.named("before") >> block

    found = nodes(made)
    assert found["in.clean"].upstream == ("in.files",)
    assert found["nothing"].upstream == ("in.clean",)
    assert found["in.files"].upstream == ("before",)
    assert not found["in.files"].group


def test_a_group_that_is_called_twice_needs_two_names_and_groups_stand_in_groups():
    @dag
    def twice():
        prepare("a")
        prepare.named("other")("b")

    assert "other.clean" in nodes(twice)

    @dag
    def same():
        prepare("a")
        prepare("b")

    with pytest.raises(GraphError, match=r"'prepare.clean' is declared twice"):
        same.graph()


def test_order_around_a_mapped_group():
    @group
    def quiet(x: int):
        weigh(x) >> nothing()

    @dag
    def made():
        files() >> quiet.map(x=[1, 2]) >> nothing.named("after")

    found = nodes(made)
    assert found["quiet"].upstream == ("files",)
    assert found["after"].upstream == ("quiet",)
    assert list(found).index("after") > list(found).index("quiet.nothing")


def test_a_cycle_through_a_group_is_found():
    @group
    def ring(x: int):
        weigh(x)

    @dag
    def made():
        step = ring.map(x=[1])
        with group("g"):
            after = nothing()
        step >> after >> step

    with pytest.raises(GraphError, match="waits for itself through a cycle"):
        made.graph()


def test_outside_of_a_dag_a_group_is_its_function():
    @group
    def add(x: int, y: int = 1):
        return x + y

    assert add(2) == 3
    assert add.partial(y=5)(2) == 7


leaked: list[Any] = []


@group
def leaking(x: int):
    leaked.append(x)
    weigh(x)


@group
def counting(x: int):
    for _ in range(x):
        nothing()


@group
def empty(x: int): ...


@group
def returning(x: int):
    weigh(x)
    return x


@group
def wanting(x: int, y: int):
    weigh(x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: counting.map(x=[1]), r"'x' of group 'counting' \(.*test_group.py:\d+\) is another value in each copy"),
        (lambda: empty.map(x=[1]), "calls no task"),
        (lambda: returning.map(x=[1]), "returns an element: return a step of the group"),
        (lambda: wanting.map(x=[1]), "parameter 'y' has no value: fix it by .partial"),
        (lambda: wanting.map(z=[1]), "parameter 'z' is unknown"),
        (lambda: wanting.partial(x=1).map(x=[1]), "'x' is fixed by .partial already"),
        (lambda: wanting.map(), "map.. needs a list"),
        (lambda: leaking.map(x=iter([1])), "which can be read only once and has no length"),
        (lambda: leaking.map(x=[1], concurrency=0), "concurrency is 0: write a whole number from 1"),
        (lambda: (leaking.map(x=[1]), weigh.named("w")(leaked[-1])), "is used outside of the group"),
        (lambda: leaking >> nothing(), "stands beside >> but is no task"),
        (lambda: weigh.map(part=range(10_000_000)), "10,000,000 elements, a graph holds at most 1,000,000: map over"),
        (lambda: weigh.product(part=range(2000), scale=range(2000)), "the product of its lists has 4,000,000 elements"),
        (lambda: weigh.map(part=[1]).map, "is known only when the run gets there"),
    ],
)  # fmt: skip
def test_what_is_refused(build, message):
    @dag
    def made():
        build()

    began = time.monotonic()
    with pytest.raises(GraphError, match=message):
        made.graph()
    assert time.monotonic() - began < 5, "it looked at every element before it refused"


def test_a_group_is_mapped_and_a_block_opened_only_in_a_dag_function():
    with pytest.raises(GraphError, match="a group is mapped in an @dag function"):
        prepare.map(path=["a"])
    with pytest.raises(GraphError, match="stands in an @dag function"):
        group("x")
    with pytest.raises(GraphError, match="@group wants a function"):
        group(3)


def test_a_product_and_limits_are_data_of_the_node():
    @dag(max_active_tasks=5, max_active_runs=2, priority=7)
    def made():
        weigh.product(part=[1, 2], scale=[3, 4], concurrency=2)

    graph = made.graph()
    assert (graph.max_active_tasks, graph.max_active_runs, graph.priority) == (5, 2, 7)
    (node,) = graph.nodes
    assert node.product
    assert node.copies == 2
    assert list(node.mapped) == ["part", "scale"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "a b"}, "pool id 'a b' is not allowed"),
        ({"pool": "a", "pool_slots": 0}, "pool_slots is 0"),
        ({"concurrency": 1.5}, "concurrency is 1.5"),
    ],
)
def test_limits_that_are_none_are_refused(options, message):
    with pytest.raises(GraphError, match=message):
        task(**options)(files.function)
    with pytest.raises(GraphError, match=r"dag 'x' \(.*test_group.py:\d+\): max_active_runs is 0"):
        dag("x", files, max_active_runs=0)


@group
def apart(x: int):
    first, second = weigh(x), weigh.named("again")(x)
    return first, second


def test_a_limit_is_refused_where_copies_wait_for_each_other_by_way_of_outside():
    @dag
    def waiting(limit: int):
        first, second = apart.map(x=[1, 2, 3], concurrency=limit)
        total(first) >> nothing() >> second

    message = (
        r"group 'apart' \(.*test_group.py:\d+\) has concurrency=2, but its 'apart.again' waits for 'apart.weigh' of "
        r"all copies, by way of 'total': leave concurrency out, or let 'apart.again' not depend on 'total'"
    )
    with pytest.raises(GraphError, match=message):
        waiting.graph(limit=2)

    @dag
    def forward():
        first, second = apart.map(x=[1, 2, 3], concurrency=1)
        first >> second
        total(second)

    assert next(node for node in forward.graph().nodes if node.is_group).copies == 1
