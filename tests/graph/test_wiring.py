"""`>>`: who waits for whom, and which parameter is filled."""

import pytest

from clearance import Dataset, Tree, chain, dag, task
from clearance.errors import GraphError
from clearance.graph.model import Result


@task
def number() -> int: ...
@task
def text() -> str: ...
@task
def both(x: int, s: str) -> int: ...
@task
def quiet(): ...
@task
def data() -> Dataset: ...
@task
def train(images: Tree, lr: float = 0.1) -> int: ...
@task
def nothing() -> None: ...
@task
def rate() -> float: ...


@task
def add(xs: list[int]) -> int: ...


@task
def flagged(flag=False) -> int: ...


@task
def untyped(): ...


@task
def typed(count: int = 3) -> int: ...


def nodes(*items, **options):
    return {node.id: node for node in dag("d", *items, **options).graph().nodes}


def test_a_result_fills_the_first_free_parameter_that_accepts_it():
    assert nodes([text, number] >> both)["both"].inputs == {"s": Result("text"), "x": Result("number")}


def test_a_dataset_fills_a_tree():
    assert nodes(data >> train)["train"].inputs == {"images": Result("data")}


def test_a_task_without_parameters_only_waits():
    found = nodes(number >> quiet)["quiet"]
    assert (found.upstream, found.inputs) == (("number",), {})


def test_none_fills_nothing():
    assert nodes([nothing, data] >> train)["train"].inputs == {"images": Result("data")}


def test_the_first_free_parameter_that_accepts_it_is_filled_even_if_it_has_a_default():
    assert nodes([data, rate] >> train)["train"].inputs == {"images": Result("data"), "lr": Result("rate")}


def test_a_default_is_not_lost_to_a_guess():
    assert nodes(number >> flagged)["flagged"].inputs == {}
    assert nodes(untyped >> typed)["typed"].inputs == {}


def test_fan_out_and_fan_in_wait_for_all():
    found = nodes(number >> [quiet.named("q1"), quiet.named("q2")] >> quiet.named("last"))
    assert found["q1"].upstream == ("number",)
    assert found["last"].upstream == ("q1", "q2")


def test_chain_is_the_same_as_arrows():
    one = dag("d", chain(number, [quiet.named("q1"), quiet.named("q2")], quiet)).graph()
    two = dag("d", number >> [quiet.named("q1"), quiet.named("q2")] >> quiet).graph()
    assert [(node.id, node.upstream) for node in one.nodes] == [(node.id, node.upstream) for node in two.nodes]


def test_arrows_may_be_grouped_from_the_right():
    found = nodes(number >> (quiet >> quiet.named("q2")))
    assert (found["quiet"].upstream, found["q2"].upstream) == (("number",), ("quiet",))


def test_several_expressions_share_their_tasks():
    found = nodes([number >> quiet, text >> quiet])
    assert found["quiet"].upstream == ("number", "text")


def test_an_unfilled_parameter_shows_both_types():
    with pytest.raises(GraphError, match=r"'train' \(.*:\d+\): parameter 'images' wants Tree, but 'text' returns str"):
        dag("d", text >> train)


def test_results_that_would_make_a_list_bring_the_way_to_write_it():
    with pytest.raises(GraphError, match=r"pass a list in an @dag function, add\(\[n1\(\), n2\(\)\]\)"):
        dag("d", [number.named("n1"), number.named("n2")] >> add)


def test_an_unconnected_required_parameter_is_named():
    with pytest.raises(GraphError, match=r"parameter 'images' \(Tree\) has no value"):
        dag("d", train)


def test_a_plain_function_beside_arrows_is_refused():
    with pytest.raises(GraphError, match="len stands beside >> but is no task"):
        number >> len
    with pytest.raises(GraphError, match="decorate it with @task"):
        [len] >> number


def test_an_empty_list_beside_arrows_is_refused():
    with pytest.raises(GraphError, match="empty list"):
        number >> []


def test_two_variants_of_one_name_are_refused_with_both_places():
    with pytest.raises(GraphError, match=r"declared twice, at .*test_wiring.py:\d+ and at .*test_wiring.py:\d+"):
        dag("d", number >> train.partial(images="x") >> train.partial(images="y"))


def test_a_cycle_by_arrows_is_shown():
    with pytest.raises(GraphError, match="quiet -> q2 -> quiet"):
        dag("d", quiet >> quiet.named("q2") >> quiet)


def test_a_mapped_task_in_an_expression():
    found = nodes(data >> train.map(lr=[0.1, 1]))["train"]
    assert found.mapped["lr"].value == [0.1, 1.0]
    assert found.inputs == {"images": Result("data")}


def test_a_chain_of_twenty_thousand_tasks_needs_no_recursion():
    flow = quiet
    for index in range(20_000):
        flow = flow >> quiet.named(f"q{index}")
    graph = dag("d", flow).graph()
    assert len(graph.nodes) == 20_001
    assert graph.nodes[-1].upstream == ("q19998",)


def test_ninety_thousand_edges_build():
    flow = [quiet.named(f"a{index}") for index in range(300)] >> quiet >> [quiet.named(f"c{i}") for i in range(3)]
    wide = chain([quiet.named(f"l{index}") for index in range(300)], [quiet.named(f"r{index}") for index in range(300)])
    graph = dag("d", [flow, wide]).graph()
    assert sum(len(node.upstream) for node in graph.nodes) == 90_303
