"""Setups, teardowns and handlers as they are written."""

import pytest

HEAD = """
    from clearance import Outcome, group, when

    @task
    def start() -> str: ...
    @task
    def stop(cluster: str) -> None: ...
    @task
    def work(n: int = 0) -> int: ...
    @task
    def tell(outcome: Outcome, channel: str = "ops") -> None: ...
    @task
    def plain() -> None: ...
    @task
    def needs(channel: str, outcome: Outcome) -> None: ...
"""


def body(*lines: str) -> str:
    return HEAD + "    @dag\n    def d():\n" + "".join(f"        {line}\n" for line in lines)


def test_the_first_tasks_wait_for_the_setup_and_the_teardown_for_all(made):
    graph = made(
        body("c = start()", "with c.teardown(stop):", "    a = work()", "    work.named('b')(a)", "    plain()")
    ).graph()
    nodes = {node.id: node for node in graph.nodes}
    assert nodes["work"].upstream == nodes["plain"].upstream == ("start",)
    assert nodes["b"].upstream == ("work",)
    assert nodes["stop"].upstream == ("start",)
    assert nodes["stop"].inputs["cluster"].task == "start"
    assert nodes["stop"].waits == ("work", "b", "plain")
    assert nodes["stop"].setup == "start"
    assert nodes["stop"].aside


def test_teardowns_nest_and_none_waits_for_the_setup_of_another(made):
    lines = ["a, b = start(), start.named('b')()", "with a.teardown(stop), b.teardown(stop.named('stop_b')):"]
    nodes = {node.id: node for node in made(body(*lines, "    work()")).graph().nodes}
    assert set(nodes["work"].upstream) == {"start", "b"}
    assert nodes["stop_b"].upstream == ("b",)
    assert set(nodes["stop"].waits) == {"stop_b", "work"}


def test_what_a_teardown_takes_besides_it_waits_for_in_whatever_state(made):
    lines = ["c, n = start(), work()", "with c.teardown(both(c, n), fails_run=True):", "    work.named('w')()"]
    text = body(*lines).replace("    @dag", "    @task\n    def both(c: str, n: int): ...\n    @dag")
    node = next(node for node in made(text).graph().nodes if node.id == "both")
    assert (node.upstream, node.waits, node.fails_run, node.aside) == (("start",), ("work", "w"), True, False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["with start().teardown(stop):", "    pass"], "the block of start.teardown(…) calls no task"),
        (["with start().teardown(3):", "    work()"], "teardown() wants a task"),
        (["with work.map(n=[1]).teardown(plain):", "    work.named('w')()"], "is mapped and no setup"),
        (["with start().teardown(stop.map(cluster=['a'])):", "    work()"], "is mapped and no teardown"),
        (["c = start()", "with c.teardown(c):", "    work()"], "cannot take itself down"),
        (["c = start()", "s = stop(c)", "with c.teardown(s):", "    work()", "with c.teardown(s):", "    plain()"],
         "takes down 'start' already"),
    ],
)  # fmt: skip
def test_wrong_teardowns_are_refused(refused, lines, message):
    assert message in refused(body(*lines))


def test_a_handler_is_a_node_that_takes_the_outcome(made):
    text = (
        HEAD
        + """    @task(on_failure=tell.partial(channel="x"), on_success=plain, deadline="1h")
    def train() -> int: ...
    d = dag("d", train, on_failure=tell, deadline="2h")
"""
    )
    graph = made(text).graph()
    nodes = {node.id: node for node in graph.nodes}
    assert list(nodes) == ["train", "train.on_failure", "train.on_success", "on_failure"]
    assert nodes["train.on_failure"].inputs["outcome"].task == "train"
    assert nodes["train.on_failure"].inputs["channel"].value == "x"
    assert (nodes["train.on_success"].on, nodes["train.on_success"].of) == ("success", "train")
    assert nodes["on_failure"].inputs["outcome"].task == ""
    assert (nodes["train"].deadline, graph.deadline) == (3600.0, 7200.0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("on_failure=print", "on_failure is print, which is no task: decorate it with @task"),
        ("on_success=3", "on_success is 3, which is no task"),
        ("on_failure=work.map(n=[1])", "is mapped: one handler runs for all"),
        ("on_failure=needs", "parameter 'channel' has no value: a handler takes one Outcome"),
        ("on_failure=stop", "parameter 'cluster' has no value"),
        ("on_failure=nested", "has a handler itself"),
        ("deadline='soon'", "deadline"),
    ],
)
def test_wrong_handlers_and_deadlines_are_refused(refused, option, message):
    nested = "    @task(on_failure=plain)\n    def nested() -> None: ...\n"
    text = HEAD + nested + f"    @task({option})\n    def train() -> int: ...\n    d = dag('d', train)\n"
    assert message in refused(text)
    assert message in refused(HEAD + nested + f"    d = dag('d', work, {option})\n")
