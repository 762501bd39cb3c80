"""What `@task` makes of a function, and what it refuses."""

import pytest

from clearance import Retry, Tree, task
from clearance.errors import GraphError


@task
def double(x: int, by: int = 2) -> int:
    """Doubles."""
    return x * by


@task(retries=Retry(3, on=(OSError,)), timeout="1h30m", resources={"cpu": "500m", "memory": "1Gi"}, gang=2)
def heavy(x: int) -> Tree: ...


def test_a_task_called_outside_a_dag_is_its_function():
    assert double(3) == 6
    assert double.partial(by=5)(3) == 15
    assert double.__name__ == "double"
    assert double.__doc__ == "Doubles."


def test_options_are_normalised():
    assert heavy.options.timeout == 5400
    assert heavy.options.resources == {"cpu": 500, "memory": 2**30}
    assert heavy.options.retries.on == ("builtins.OSError",)
    assert heavy.options.gang == 2


def test_named_and_expect_leave_the_task_as_it_is():
    other = double.named("c0").expect(seconds=3)
    assert (other.id, other.options.expect) == ("c0", 3.0)
    assert (double.id, double.options.expect) == ("double", 0.0)


def test_a_mapped_task_cannot_be_called_as_a_function():
    with pytest.raises(GraphError, match="mapped"):
        double.map(x=[1, 2])(1)


def test_a_nested_function_is_refused_because_it_cannot_be_imported():
    with pytest.raises(GraphError, match=r"task 'inner' \(.*test_task.py:\d+\).*top level of the file"):

        @task
        def inner(): ...


def test_a_lambda_is_refused():
    with pytest.raises(GraphError, match=r"lambda.*write def"):
        task(lambda: 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@task\ndef a(*xs): ...", r"task 'a' \(pipe.py:2\): \*xs"),
        ("@task\ndef a(**xs): ...", r"\*\*xs"),
        ("@task\ndef a(x, /): ...", "positional-only"),
        ("@task\nasync def a(): ...", "asyncio.run"),
        ("@task\ndef a():\n    yield 1", "return a list"),
        ("@task\nclass A: ...", "class"),
        ("@task\n@task\ndef a(): ...", "once"),
        ("@task(retry=3)\ndef a(): ...", "unknown option 'retry'; did you mean 'retries'"),
        ("@task(isolation='proces')\ndef a(): ...", "did you mean 'process'"),
        ("@task(gang=0)\ndef a(): ...", "gang is 0"),
        ("@task(gang=True)\ndef a(): ...", "gang is True"),
        ("@task(timeout='10 minutes')\ndef a(): ...", "'1h30m'"),
        ("@task(timeout=0)\ndef a(): ...", "timeout is 0"),
        ("@task(retries=-1)\ndef a(): ...", "from 0 to 1000"),
        ("@task(retries='3')\ndef a(): ...", "retries is '3'"),
        ("@task(preload='torch')\ndef a(): ...", r"\['torch'\]"),
        ("@task(preload=['os; import x'])\ndef a(): ...", "module names"),
        ("@task(resources={'gppu': 1})\ndef a(): ...", r"task 'a' \(pipe.py:2\): .*'gppu'; did you mean 'gpu'"),
        ("@task(resources=3)\ndef a(): ...", r"Resources\("),
        ("@task(name='../x')\ndef a(): ...", "not allowed"),
        ("@task(priority='high')\ndef a(): ...", "priority is 'high'"),
        ("task(3)", "wants a function"),
    ],
)
def test_a_wrong_task_is_refused_where_it_is_defined(refused, code, message):
    import re

    assert re.search(message, refused(code)), refused(code)


def test_a_function_whose_name_was_taken_by_another_is_refused(refused):
    text = """
        @task
        def a(): ...
        keep = a
        def a(): ...
        d = dag("d", keep)
        """
    assert "something else" in refused(text)


def test_a_task_that_has_a_second_name_is_accepted(made):
    text = """
        @task
        def a(): ...
        alias = a
        d = dag("d", alias)
        """
    assert made(text).graph().nodes[0].function == "pipe:a"


def test_a_decorator_below_task_keeps_the_inner_signature(made):
    text = """
        import functools
        def timed(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)
            return wrapper
        @task
        @timed
        def a(n: int = 1) -> int: ...
        d = dag("d", a)
        """
    assert list(made(text).parameters) == ["n"]
