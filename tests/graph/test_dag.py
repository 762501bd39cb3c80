"""Both forms of a DAG, and what they refuse."""

import sys

import pytest

from clearance import Endpoint, Model, Tree, dag, task
from clearance.errors import GraphError
from clearance.graph.model import Result, Value, decode, encode


@task
def download_images(limit: int = 1797) -> Tree: ...
@task
def train(images: Tree, lr: float = 3e-4) -> Model: ...
@task
def choose(models: list[Model]) -> Model: ...
@task
def serve(model: Model) -> Endpoint: ...
@task
def numbers(n: int = 3) -> list[int]: ...
@task
def square(x: int, plus: int = 0) -> int: ...
@task
def add(xs: list[int]) -> int: ...
@task
def one() -> int: ...
@task
def tell(note: str = ""): ...


digits = dag("digits", download_images >> train >> serve, doc="Reads digits.")


@dag
def search(limit: int = 1797):
    """Tries learning rates."""
    models = train.partial(images=download_images(limit)).map(lr=[1e-4, 3e-4, 1e-3])
    serve(choose(models))


def test_the_readme_expression():
    graph = digits.graph()
    assert [node.id for node in graph.nodes] == ["download_images", "train", "serve"]
    assert graph.nodes[1].inputs == {"images": Result("download_images")}
    assert graph.nodes[1].function.endswith("test_dag:train")
    assert graph.doc == "Reads digits."


def test_the_readme_search():
    graph = search.graph(limit=100)
    by_id = {node.id: node for node in graph.nodes}
    assert by_id["download_images"].inputs == {"limit": Value(100)}
    assert by_id["train"].mapped == {"lr": Value([1e-4, 3e-4, 1e-3])}
    assert by_id["choose"].inputs == {"models": Result("train")}
    assert graph.parameters == {"limit": 100}
    assert graph.doc == "Tries learning rates."
    assert decode(encode(graph)) == graph


def test_parameters_of_an_expression_are_the_defaults_of_its_tasks():
    assert {name: (one.type, one.default) for name, one in digits.parameters.items()} == {
        "limit": ("int", 1797),
        "lr": ("float", 3e-4),
    }
    graph = digits.graph(limit="100", **{"train.lr": 1})
    assert graph.nodes[0].inputs == {"limit": Value(100)}
    assert graph.nodes[1].inputs["lr"] == Value(1.0)
    assert graph.parameters == {"limit": 100, "lr": 1.0}


def test_a_name_that_two_tasks_have_is_addressed_by_task():
    two = dag("two", [square.named("s1").partial(x=1), square.named("s2").partial(x=2)])
    assert list(two.parameters) == ["s1.plus", "s2.plus"]
    assert two.graph(**{"s2.plus": 5}).nodes[1].inputs["plus"] == Value(5)
    with pytest.raises(GraphError, match=r"in several tasks: say s1.plus or s2.plus"):
        two.graph(plus=1)


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(GraphError, match="dag 'digits': parameter 'limt' is unknown; did you mean 'limit'"):
        digits.graph(limt=3)
    with pytest.raises(GraphError, match="'limt' is unknown; did you mean 'limit'"):
        search.graph(limt=3)


def test_a_parameter_of_the_wrong_type_says_the_expected_one():
    with pytest.raises(GraphError, match="parameter 'limit' wants int, not 'many'"):
        search.graph(limit="many")


def test_a_missing_required_parameter_is_named():
    @dag
    def needs(count: int):
        numbers(count)

    with pytest.raises(GraphError, match=r"parameter 'count' \(int\) is missing"):
        needs.graph()
    assert needs.graph(count=3).nodes


def test_options_of_the_function_form():
    @dag(name="renamed", isolation="worker")
    def inner():
        one()
        tell.named("t")()

    graph = inner.graph()
    assert graph.dag == "renamed"
    assert {node.isolation for node in graph.nodes} == {"worker"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolaton": "worker"}, "did you mean 'isolation'"),
        ({"isolation": "thread"}, "use one of process, worker, inline"),
        ({"name": "a b"}, "dag id 'a b' is not allowed"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(GraphError, match=message):

        @dag(**options)
        def inner():
            one()


def test_steps_can_be_ordered_without_data():
    @dag
    def inner():
        first, last = one(), tell()
        first >> last
        tell.named("after")() >> [tell.named("x")(), tell.named("y")()]

    by_id = {node.id: node for node in inner.graph().nodes}
    assert by_id["tell"].upstream == ("one",)
    assert by_id["y"].upstream == ("after",)


def test_arrows_between_steps_fill_parameters_too():
    @dag
    def inner():
        download_images() >> train() >> serve

    assert [node.inputs for node in inner.graph().nodes] == [
        {},
        {"images": Result("download_images")},
        {"model": Result("train")},
    ]


def test_calling_a_task_twice_asks_for_a_name():
    @dag
    def inner():
        one()
        one()

    with pytest.raises(GraphError, match=r"task 'one' is declared twice, .*name one of them, .*one.named\('one_2'\)"):
        inner.graph()


def test_unknown_and_double_arguments_are_refused_at_the_call():
    @dag
    def unknown():
        square(1, pluss=2)

    @dag
    def double():
        square(1, x=2)

    @dag
    def many():
        square(1, 2, 3)

    with pytest.raises(GraphError, match=r"task 'square' \(.*\): parameter 'pluss' is unknown; did you mean 'plus'"):
        unknown.graph()
    with pytest.raises(GraphError, match="'x' is passed twice"):
        double.graph()
    with pytest.raises(GraphError, match="takes 2 arguments, but 3"):
        many.graph()


def test_a_constant_is_checked_by_the_annotation():
    @dag
    def inner():
        square("3")

    with pytest.raises(GraphError, match="parameter 'x': '3' is not int"):
        inner.graph()


def test_mapping():
    @dag
    def inner():
        squares = square.map(x=numbers(), plus=[])
        add(squares)

    node = inner.graph().nodes[1]
    assert node.mapped == {"x": Result("numbers"), "plus": Value([])}


def test_mapping_over_a_mapped_task_goes_element_by_element():
    @dag
    def inner():
        add(square.named("again").map(x=square.map(x=range(3))))

    assert inner.graph().nodes[1].mapped == {"x": Result("square")}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "needs a list"),
        ({"x": 3}, "mapped over int, which is no list"),
        ({"x": "abc"}, "mapped over str"),
        ({"x": (i for i in range(3))}, "mapped over a generator"),
        ({"x": {1, 2}}, "mapped over set"),
        ({"x": [1], "plus": [1, 2]}, "differ in length: x has 1, plus has 2"),
        ({"y": [1]}, "'y' is unknown"),
        ({"x": ["a"]}, "'a' is not int"),
    ],
)
def test_wrong_maps_are_refused(over, message):
    @dag
    def inner():
        square.map(**over)

    with pytest.raises(GraphError, match=message):
        inner.graph()


def test_mapping_over_a_scalar_result_is_refused():
    @dag
    def inner():
        square.map(x=one())

    with pytest.raises(GraphError, match="which is int and no list"):
        inner.graph()


def test_a_dag_without_tasks_is_refused():
    @dag
    def inner(): ...

    with pytest.raises(GraphError, match="calls no task"):
        inner.graph()
    with pytest.raises(GraphError, match="has no task"):
        dag("empty", [])
    with pytest.raises(GraphError, match="None stands beside >>"):
        dag("empty", None)


def test_a_dag_inside_a_dag_and_a_dag_as_a_task_are_refused():
    @dag
    def inner():
        search.graph()

    with pytest.raises(GraphError, match="inside another dag"):
        inner.graph()
    with pytest.raises(GraphError, match="is no function"):
        search()
    with pytest.raises(GraphError, match="only tasks stand there"):
        one >> search
    with pytest.raises(GraphError, match="only tasks stand there"):
        search >> one


def test_a_generator_as_a_dag_is_refused():
    @dag
    def inner():
        yield one()

    with pytest.raises(GraphError, match="write a plain function"):
        inner.graph()


def test_an_error_in_a_dag_function_leaves_no_definition_behind():
    @dag
    def inner():
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        inner.graph()
    assert square(2, 3) is None


def test_the_same_parameters_give_the_same_graph():
    assert encode(search.graph(limit=5)) == encode(search.graph(limit="5"))
    assert encode(digits.graph()) == encode(digits.graph())


def test_run_goes_through_the_port(monkeypatch):
    seen = {}
    home = sys.modules["clearance.graph.dag"]
    monkeypatch.setattr(home, "runner", lambda: lambda one, **how: seen.update(how, dag=one) or "done")
    assert search.run(limit=5, run_id="r1") == "done"
    assert seen == {"dag": search, "parameters": {"limit": 5}, "run_id": "r1", "tags": None}
