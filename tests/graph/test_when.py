"""Conditions as they are written: what stands in the graph, and what is refused before anything runs."""

import pytest

from clearance.graph.model import decode, encode
from clearance.graph.predicate import holds, text

HEAD = """
    import enum
    from dataclasses import dataclass
    from typing import Any, Literal, NamedTuple, TypedDict
    import msgspec
    from clearance import branch, group, otherwise, when

    class Size(enum.Enum):
        SMALL = "small"
        LARGE = "large"

    class Pair(NamedTuple):
        low: int
        high: int

    class Row(TypedDict):
        name: str

    class Sent(msgspec.Struct, rename="camel"):
        is_done: bool
        next_step: str

    @dataclass
    class Best:
        score: float
        kind: Literal["a", "b", "c"]
        note: str | None
        size: Size
        pair: Pair
        sent: Sent
        ok: bool
        rows: list[Row]
        by_name: dict[str, float]

    @task
    def find() -> Best: ...
    @task
    def old() -> float: ...
    @task
    def anything(): ...
    @task
    def model() -> Model: ...
    @task
    def act(x: float = 0.0) -> int: ...
    @task
    def use(row: Row) -> str: ...
    @task
    def text(t: str) -> str: ...
    @task
    def join(x: Any = None, y: Any = None) -> int: ...
"""


def body(lines: str) -> str:
    inner = "".join(f"        {line}\n" for line in lines.split("\n"))
    return HEAD + "    @dag\n    def d():\n        best = find()\n" + inner


def conditions(graph) -> dict[str, str]:
    return {node.id: " and ".join(map(text, node.conditions)) for node in graph.nodes if node.conditions}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("best.score > 0.9", "find.score > 0.9"),
        ("0.9 < best.score", "find.score > 0.9"),
        ("best.score >= old()", "find.score >= old"),
        ("best.kind == 'a'", "find.kind == 'a'"),
        ("best.note.is_none()", "find.note is None"),
        ("best.note == None", "find.note is None"),
        ("best.size == Size.SMALL", "find.size == 'small'"),
        ("best.size.in_([Size.SMALL, Size.LARGE])", "find.size in ['small', 'large']"),
        ("best.pair.high > 3", "find.pair[1] > 3"),
        ("best.pair[0] != 3", "find.pair[0] != 3"),
        ("best.sent.is_done", "find.sent.isDone"),
        ("~best.ok", "~find.ok"),
        ("~~best.ok", "find.ok"),
        ("best.rows[0]['name'] == 'x'", "find.rows[0].name == 'x'"),
        ("best.by_name['a b'] < 1", "find.by_name['a b'] < 1"),
        ("best.ok & (best.score > 1) & best.note.is_none()", "find.ok & (find.score > 1) & (find.note is None)"),
        ("(best.ok | (best.score > 1)) & ~best.ok", "(find.ok | (find.score > 1)) & ~find.ok"),
        ("anything().x[3].y > 'b'", "anything.x[3].y > 'b'"),
        ("model().metadata['accuracy'] > 0.9", "model.metadata.accuracy > 0.9"),
        ("anything()", "anything"),
    ],
)
def test_a_condition_becomes_data(made, condition, said):
    graph = made(body(f"with when({condition}):\n    act()")).graph()
    assert conditions(graph) == {"act": said}
    assert decode(encode(graph)) == graph
    assert not [node for node in graph.nodes if node.id == "act" and "find" in node.upstream]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("best.scor > 1", "the result of task 'find' (pipe.py:"),
        ("best.scor > 1", "Best has no field 'scor'; did you mean 'score'?; it has score, kind"),
        ("best.kind > 3", "condition find.kind > 3: Literal['a', 'b', 'c'] and int have no order"),
        ("best.ok > 3", "bool and int have no order"),
        ("best.kind == 'z'", None),
        ("best.score == 'x'", "float is never equal to str"),
        ("best.score == [1]", "is compared with [1]: numbers, text, booleans and None are compared"),
        ("best.score > float('nan')", "numbers, text, booleans and None are compared"),
        ("best > 3", "Best cannot be compared, only numbers, text, booleans and None: name a part of it"),
        ("best.score.in_([])", "in_ wants a list of values"),
        ("best.score.in_(['x'])", "float is never equal to str"),
        ("best.score", "is float and no bool: compare it"),
        ("best.by_name.x > 1", "dict[str, float] has no field 'x': write ['x']"),
        ("best.pair[7] > 1", "Pair has no element 7"),
        ("best['score']['x'] > 1", "float has no field 'x'"),
        ("model().weights > 1", "of Model only .metadata can be read without its files"),
        ("best.score > 1 and best.ok", "write & for and"),
        ("not best.ok", "write & for and, | for or, ~ for not"),
        ("best.ok if best.ok else best.ok", "give the condition to `with when(…):`"),
        ("0 < best.score < 1", "(0 < x) & (x < 1) for a chain"),
        ("'a' in best.kind", "known only when the run gets there"),
        ("best.score in [1, 2]", "judged only when the run gets there"),
        ("True", "a condition that is known already: write a plain if"),
        ("act", "when() got a task: call it"),
        ("'best.score > 1'", "is no condition"),
        ("best[best]", "is no name and no position"),
        ("best.score.upper()", "float has no field 'upper', and is known only when the run gets there"),
    ],
)
def test_what_no_condition_can_be_is_refused_where_it_is_written(refused, made, condition, message):
    written = body(f"with when({condition}):\n    act()")
    if message is None:
        made(written).graph()  # a Literal that has no such member is never equal, which only the run can tell
        return
    found = refused(written)
    assert message in found
    assert "pipe.py:" in found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("with when(best.ok):\n    pass", "the block of when(…) calls no task"),
        ("with otherwise():\n    act()", "otherwise() follows directly a block `with when(…):`"),
        ("with when(best.ok):\n    act()\nold()\nwith otherwise():\n    act.named('b')()", "nothing in between"),
        (
            "with when(best.ok):\n    act()\nwith otherwise():\n    act.named('b')()\n"
            "with otherwise():\n    act.named('c')()",
            "nothing in between",
        ),
        ("with branch(best.kind) as b:\n    pass", "the branch has no case"),
        ("with branch(best.kind) as b:\n    with b.case('a'):\n        act()", "has no arm for 'b'"),
        ("with branch(best.kind) as b:\n    with b.case('z'):\n        act()", "is never 'z': it is one of ['a', 'b'"),
        (
            "with branch(old()) as b:\n    with b.case(1):\n        act()\n    with b.case(2, 1.0):\n        text('x')",
            "1.0 has an arm already",
        ),
        ("with branch(best) as b:\n    pass", "a branch goes by text, a number or a bool"),
        ("with branch('a') as b:\n    pass", "branch() wants the result of a task"),
        ("with branch(old()) as b:\n    with b.case():\n        act()", "case() names no value"),
        (
            "with branch(old()) as b:\n    with b.default():\n        act()\n    with b.default():\n        text('x')",
            "has a default already",
        ),
        ("text(best.kindd)", "did you mean 'kind'?"),
        ("act(best.kind)", "parameter 'x' wants float, but .kind of the result of task 'find'"),
        ("use(best.rows[0])\ntext(best.rows[0])", "wants str, but .rows[0] of the result of task 'find'"),
        ("act(best.score > 1)", "<condition find.score > 1> is no value"),
        ("text.map(t=best.score)", "which is float and no list"),
    ],
)
def test_wrong_blocks_and_parts_are_refused(refused, lines, message):
    assert message in refused(body(lines))


def test_outside_of_a_dag_there_are_no_conditions(refused):
    assert "when(…) stands in an @dag function" in refused(HEAD + "    with when(True):\n        pass")


def test_blocks_stand_in_blocks_and_otherwise_is_the_contrary(made):
    lines = """with when(best.score > 0.9):
    with when(best.ok):
        act()
    with otherwise():
        text('x')
with otherwise():
    join()"""
    assert conditions(made(body(lines)).graph()) == {
        "act": "find.score > 0.9 and find.ok",
        "text": "find.score > 0.9 and ~find.ok",
        "join": "~(find.score > 0.9)",
    }


def test_in_a_mapped_group_a_condition_stands_on_the_tasks_and_around_it_on_the_group(made):
    text_ = (
        HEAD
        + """    @group
    def each(row):
        with when(row["name"] == "x"):
            return use(row)

    @dag
    def d():
        best = find()
        with when(best.ok):
            each.map(row=best.rows)
"""
    )
    graph = made(text_).graph()
    assert conditions(graph) == {"each": "find.ok", "each.use": "row.name == 'x'"}
    assert graph.nodes[1].mapped["row"].path == ("rows",)


def test_a_condition_of_a_group_is_of_no_use_outside(refused):
    assert "belongs to group 'each': use it there" in refused(
        HEAD
        + """    kept = []
    @group
    def each(row):
        kept.append(row["name"] == "x")
        return use(row)
    @dag
    def d():
        each.map(row=find().rows)
        with when(kept[0]):
            act()
"""
    )


def test_a_task_that_joins_the_arms_of_a_branch_runs_when_one_did(made):
    lines = """with branch(best.kind) as b:
    with b.case('a'):
        one = act()
    with b.case('b', 'c'):
        two = text('x')
        join.named('inside')(two, best)
join(one, two)
join.named('half')(one, best)
join.named('said')(one, two)"""
    graph = made(body(lines)).graph()
    rules = {node.id: node.trigger_rule for node in graph.nodes}
    assert rules["join"] == rules["said"] == "none_failed_min_one_success"
    assert rules["inside"] == rules["half"] == "all_success"


def test_a_trigger_rule_that_is_said_is_that_of_a_join_too(made):
    text_ = body("with when(best.ok):\n    one = act()\nwith otherwise():\n    two = text('x')\nlate(one, two)")
    graph = made(
        text_.replace("    @dag", "    @task(trigger_rule='all_done')\n    def late(x, y): ...\n    @dag")
    ).graph()
    assert graph.nodes[-1].trigger_rule == "all_done"


def test_a_branch_without_a_default_refuses_a_value_that_no_arm_names(made):
    lines = """with branch(anything().kind) as b:
    with b.case('a'):
        act()
    with b.case('b'):
        text('x')"""
    node = next(node for node in made(body(lines)).graph().nodes if node.id == "act")
    (condition,) = node.conditions
    assert holds(condition, lambda _: "a")
    assert not holds(condition, lambda _: "b")
    with pytest.raises(Exception, match=r"is text, 'q', which no arm of the branch names \('a', 'b'\): add a case"):
        holds(condition, lambda _: "q")


def test_a_default_takes_what_no_arm_names(made):
    lines = """with branch(anything().kind) as b:
    with b.default():
        act()
    with b.case('a'):
        text('x')"""
    node = next(node for node in made(body(lines)).graph().nodes if node.id == "act")
    assert [holds(node.conditions[0], lambda _, value=value: value) for value in ("a", "q", None)] == [
        False,
        True,
        True,
    ]


def test_a_part_of_a_result_fills_a_parameter_and_is_an_upstream(made):
    graph = made(body("act(best.pair.high)")).graph()
    node = graph.nodes[-1]
    assert node.inputs["x"].path == ("pair", 1)
    assert node.upstream == ("find",)
