"""What may and may not be done with a result that does not exist yet."""

import pytest

HEAD = """
    @task
    def a() -> list[int]: ...
    @task
    def b(x: int) -> int: ...
    @task
    def c(xs: list[int]) -> int: ...
"""


def body(*lines: str) -> str:
    return HEAD + "    @dag\n    def d():\n" + "".join(f"        {line}\n" for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "for x in a(): pass",
        "a().upper()",
        "len(a())",
        "a() + 1",
        "f'{a()}'",
        "str(a())",
        "int(a())",
        "3 in a()",
        "{a(): 1}",
        "list(a())",
    ],
)
def test_using_a_result_as_a_value_says_that_it_is_not_known_yet(refused, line):
    message = refused(body(line))
    assert "known only when the run gets there: map over it, or pass it to a task" in message
    assert "pipe.py:10" in message


def test_a_result_of_another_dag_is_refused(refused):
    text = (
        HEAD
        + """
    kept = []
    @dag
    def first():
        kept.append(b(1))
    first.graph()
    @dag
    def d():
        c([kept[0]])
    del first
    """
    )
    assert "belongs to dag 'first'" in refused(text)


def test_results_may_stand_in_lists_beside_constants(made):
    graph = made(body("c([b.named('b1')(1), 5, b.named('b2')(2)])")).graph()
    node = graph.nodes[-1]
    assert [type(item).__name__ for item in node.inputs["xs"].items] == ["Result", "Value", "Result"]
    assert node.upstream == ("b1", "b2")


def test_a_result_in_a_dict_is_refused(refused):
    assert "not in a dict" in refused(body("c({'x': a()})"))


def test_a_task_passed_uncalled_is_refused(refused):
    assert "call it, a(…)" in refused(body("c(a)"))


def test_a_constant_in_a_list_is_checked_by_the_element_type(refused):
    assert "parameter 'xs': 'q' is not int" in refused(body("c([b(1), 'q'])"))


def test_a_list_of_results_for_a_scalar_is_refused(refused):
    assert "a list of results is not int" in refused(body("b([b.named('z')(1)])"))
