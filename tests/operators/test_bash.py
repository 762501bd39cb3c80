"""Commands and scripts as tasks: arguments, variables, results, exit codes, and their end with the attempt."""

from __future__ import annotations

import os
import signal
import time

import pytest

from clearance.errors import GraphError
from clearance.operators import bash
from support.runs import wait_for


def test_an_argument_list_needs_no_shell_and_takes_results_as_paths(bench):
    bench.run("""
@task
def images() -> File:
    made = context.directory / "a b; touch hacked.txt"
    made.write_text("1\\n2\\n3\\n")
    return File(made)

@task
def number() -> int:
    return 2

@dag
def main():
    bash("count", ["wc", "-l", images()])
    bash("say", ["printf", "%s|", "$HOME", "a b", number()])
""")
    assert bench.result("count").split()[0] == "3"
    assert bench.result("say") == "$HOME|a b|2|"
    assert "$HOME|a b|2|" in bench.log("say")


def test_outside_a_dag_function_it_stands_beside_the_arrows(bench):
    bench.run("""
listed = bash("listed", ["printf", "[1, 2, 3]"], result="json")

@task
def total(xs: list[int]) -> int:
    return sum(xs)

main = dag("main", listed >> total)
""")
    assert bench.result("total") == 6


def test_a_script_gets_values_in_variables_and_stops_at_the_first_failure_of_a_pipe(bench):
    bench.run(
        """
@task
def raw() -> str:
    return '$(touch hacked); "quoted"'

@dag
def main():
    bash("safe", shell='printf "%s" "$RAW"', env={"RAW": raw(), "N": 3})
    bash("file", shell='echo "$N" > made.txt', env={"N": 3}, result="made.txt")
    bash("whole", ["seq", "3"], result="output")
    bash("pipe", shell="false | true; echo reached")
""",
        expect=1,
    )
    assert bench.result("safe") == '$(touch hacked); "quoted"'
    assert bench.fetch("file").read_text() == "3\n"
    assert bench.fetch("whole").read_text() == "1\n2\n3\n"
    assert bench.states()["pipe"] == "failed"
    assert "reached" not in bench.log("pipe")


def test_exit_code_99_skips_and_another_can_be_chosen(bench):
    printed = bench.run(
        """
main = dag("main", [
    bash("nothing", shell="exit 99"), bash("other", shell="exit 7", skip_on=7), bash("bad", shell="exit 3"),
])
""",
        expect=1,
    )
    assert bench.states() == {"nothing": "skipped", "other": "skipped", "bad": "failed"}
    assert "the script ended with exit code 3" in printed


def test_a_secret_reaches_the_command_and_nothing_else(bench):
    bench.home.environment["API_TOKEN"] = "s3cr3t-s3cr3t-s3cr3t"
    bench.run("""
main = dag("main", bash("use", shell='echo "got $TOKEN"; test -n "$TOKEN"', env={"TOKEN": Secret.env("API_TOKEN")}))
""")
    assert bench.log("use") == "got ***\n"
    for path in bench.home.path.rglob("*"):
        assert not path.is_file() or b"s3cr3t-s3cr3t" not in path.read_bytes(), path


def test_a_missing_secret_fails_the_task_and_names_the_mend(bench):
    printed = bench.run(
        """
main = dag("main", bash("use", ["true"], env={"TOKEN": Secret.env("NO_SUCH_TOKEN")}))
""",
        expect=1,
    )
    assert "NO_SUCH_TOKEN" in printed
    assert bench.states() == {"use": "failed"}


def test_what_a_task_returns_is_never_taken_for_a_reference_to_a_secret(bench):
    bench.home.environment["API_TOKEN"] = "s3cr3t-s3cr3t-s3cr3t"
    bench.run("""
@task
def evil() -> dict[str, str]:
    return {"source": "env", "name": "API_TOKEN"}

@dag
def main():
    bash("use", shell='printf "%s" "$X"', env={"X": evil()})
""")
    assert bench.result("use") == '{"source":"env","name":"API_TOKEN"}'


def test_the_command_ends_with_its_run(bench):
    file = bench.write("""
main = dag("main", bash("long", shell='echo $$ > "$HERE/pid~"; mv "$HERE/pid~" "$HERE/pid"; sleep 600 | cat',
                        env={"HERE": str(HERE)}))
""")
    run = bench.home.start("run", f"{file}:main")
    wait_for(bench.folder / "pid")
    pid = int((bench.folder / "pid").read_text())
    bench.home.command("cancel", "main/1")
    assert run.wait(30) == 1
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert bench.states() == {"long": "cancelled"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: bash("x"), "give an argument list, or shell"),
        (lambda: bash("x", ["a"], shell="a"), "and not both"),
        (lambda: bash("x", "wc -l"), "arguments are a list"),
        (lambda: bash("x", ["a"], env={"A-B": 1}), "no name of an environment variable"),
        (lambda: bash("x", ["a"], result="/etc/passwd"), "a path inside its folder"),
        (lambda: bash("x", ["a"], result="../a"), "a path inside its folder"),
        (lambda: bash("x", ["a"], retires=3), "unknown option 'retires'; did you mean 'retries'"),
        (lambda: bash("1x", ["a"]), "id '1x' is not allowed"),
    ],
)
def test_what_is_wrong_is_said_where_it_is_written(make, says):
    with pytest.raises(GraphError, match=says):
        make()


def test_the_configuration_is_data_in_the_graph_at_the_line_of_the_pipeline(bench):
    file = bench.write("""
main = dag("main", bash("count", ["wc", "-l", "/etc/passwd"], retries=2))
""")
    graph = bench.home.command("dag", "show", f"{file}:main", "--json")
    assert '"/etc/passwd"' in graph
    assert '"clearance.operators.bash:run_bash"' in graph
    assert '"pipeline.py"' in graph
