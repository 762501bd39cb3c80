"""Airflow files become files of ours that pass `dag check`; what cannot be carried is listed, nothing is run."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from clearance.errors import GraphError
from clearance.operators.airflow import convert
from support.runs import Home, home  # noqa: F401

CLASSIC = '''
"""Classic."""
import json
from datetime import datetime, timedelta

import pendulum
from airflow import DAG
from airflow.models.baseoperator import chain
from airflow.operators.bash import BashOperator
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import BranchPythonOperator, PythonOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.http.operators.http import HttpOperator
from airflow.sensors.filesystem import FileSensor
from airflow.utils.edgemodifier import Label
from airflow.utils.task_group import TaskGroup
from airflow.utils.trigger_rule import TriggerRule

default_args = {"owner": "data", "retries": 2, "retry_delay": timedelta(minutes=5), "email_on_failure": True}
LIMIT = 10


def clean(limit, strict=True):
    # doubled, as agreed
    return limit * 2


def report(**context):
    print(context["ds"])


with DAG(
    "etl", default_args=default_args, schedule="0 5 * * *", catchup=False, max_active_runs=1,
    start_date=pendulum.datetime(2024, 1, 1, tz="Europe/Paris"),
) as dag:
    start = EmptyOperator(task_id="start", retries=0)
    there = FileSensor(task_id="there", filepath="/data/in.csv", poke_interval=30, timeout=3600)
    extract = BashOperator(task_id="extract", bash_command="echo hello | wc -c", env={"A": "1"})
    cleaned = PythonOperator(
        task_id="clean", python_callable=clean, op_kwargs={"limit": LIMIT}, execution_timeout=timedelta(hours=1)
    )
    with TaskGroup("shards") as shards:
        for i in range(3):
            BashOperator(task_id=f"shard_{i}", bash_command=f"echo {i}")
    load = SQLExecuteQueryOperator(task_id="load", conn_id="warehouse", sql="INSERT INTO t VALUES (%s)", parameters=[1])
    notify = HttpOperator(
        task_id="notify", http_conn_id="hooks", endpoint="done", data=json.dumps({"a": 1}),
        trigger_rule=TriggerRule.ALL_DONE,
    )
    pick = BranchPythonOperator(task_id="pick", python_callable=lambda: "a")
    rep = PythonOperator(task_id="report", python_callable=report)
    start >> there >> Label("when it is there") >> extract >> cleaned >> [load, pick]
    chain(load, notify)
    rep << notify
    start.set_downstream(rep)
'''

FLOW = '''
from datetime import datetime

from airflow.sdk import Asset, dag, task


@dag(schedule=(Asset("s3://lake/raw") & Asset("s3://lake/labels")), start_date=datetime(2024, 1, 1), tags=["x"])
def taskflow():
    """What it is."""

    @task
    def extract() -> dict:
        return {"a": 1}

    @task(retries=3, outlets=[Asset("s3://lake/clean")])
    def transform(data: dict) -> list[int]:
        return [1, 2]

    @task(trigger_rule="all_done")
    def load(x: int) -> int:
        return x

    load.expand(x=transform(extract()))


taskflow()
'''

LOOSE = """
from datetime import timedelta
from airflow import DAG
from airflow.operators.bash import BashOperator

dag = DAG(dag_id="old.style", schedule_interval=timedelta(minutes=30), max_active_tasks=4)
first = BashOperator(task_id="first", bash_command="true", dag=dag)
for name in ("a", "b"):
    first >> BashOperator(task_id=name, bash_command="true", dag=dag, pool="small", priority_weight=5)
"""


def converted(text: str, folder: Path) -> tuple[Path, list[str]]:
    """Converts and writes; returns the file and the notes."""
    found = convert(textwrap.dedent(text), "theirs.py")
    file = folder / "ours.py"
    file.write_text(found.text)
    return file, [str(note) for note in found.notes]


def test_a_classic_file(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file, notes = converted(CLASSIC, tmp_path)
    text = file.read_text()
    assert "schedule=cron('0 5 * * *', tz='Europe/Paris')" in text
    assert "RETRIES = Retry(2, backoff=1.0, delay=300.0" in text
    assert "python('clean', clean, options={'retries': RETRIES, 'timeout': 3600}, limit=LIMIT, strict=True)" in text
    assert "airflow" not in text.replace("Airflow", "").partition("\n")[2]
    shown = json.loads(home.command("dag", "show", str(file), "--json"))
    nodes = {node["id"]: node for node in shown["nodes"]}
    assert nodes["extract"]["upstream"] == ["there"]
    assert nodes["notify"]["trigger_rule"] == "all_done"
    assert set(nodes["report"]["upstream"]) == {"notify", "start"}
    assert "times" not in nodes["start"]["retries"]
    assert nodes["extract"]["retries"]["times"] == 2
    assert {"shards.shard_0", "shards.shard_1", "shards.shard_2"} <= nodes.keys()
    text_of_notes = "\n".join(notes)
    for part in ("email_on_failure is not carried", "report uses Airflow's context", "BranchPythonOperator",
                 "the connection 'hooks'", "the connection 'warehouse'"):  # fmt: skip
        assert part in text_of_notes
    assert len(notes) == 5


def test_a_taskflow_file_runs(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file, notes = converted(FLOW, tmp_path)
    assert notes == []
    assert "schedule=asset('s3://lake/raw') & asset('s3://lake/labels')" in file.read_text()
    home.command("run", str(file))
    assert set(home.states("taskflow/1").values()) == {"success"}


def test_tasks_beside_their_dag(home: Home, tmp_path: Path) -> None:  # noqa: F811
    file, notes = converted(LOOSE, tmp_path)
    assert notes == []
    shown = json.loads(home.command("dag", "show", str(file), "--json"))
    assert shown["dag"] == "old.style"
    assert [node["upstream"] for node in shown["nodes"] if node["id"] in "ab"] == [["first"], ["first"]]
    assert "every(1800)" in file.read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1", "no `with DAG"),
        ("def f(:", "this is no Python"),
        (
            'from airflow import DAG\nfrom airflow.operators.bash import BashOperator\nwith DAG("x"):\n'
            '    BashOperator(task_id="a", bash_command="echo {{ ds }}")\n',
            "line 4: 'echo {{ ds }}'",
        ),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(GraphError) as caught:
        convert(text, "theirs.py")
    assert problem in str(caught.value)


def test_nothing_of_the_file_is_run_and_nothing_is_overwritten(home: Home, tmp_path: Path) -> None:  # noqa: F811
    theirs = tmp_path / "theirs.py"
    theirs.write_text(LOOSE + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(3)\n")
    ours = tmp_path / "ours.py"
    assert "old.style; look at it" in home.command("dag", "import", str(theirs), "-o", str(ours))
    assert not (tmp_path / "ran").exists()
    assert "exists" in home.command("dag", "import", str(theirs), "-o", str(ours), expect=2)
    ours.unlink()
    theirs.write_text(LOOSE.replace("'true'", "'true'").replace('"true"', '"echo {{ ds }}"'))
    refused = home.command("dag", "import", str(theirs), "-o", str(ours), expect=2)
    assert "data_interval" in refused
    assert not ours.exists()
    told = json.loads(home.command("dag", "import", str(write(tmp_path, FLOW)), "--json"))
    assert told["dags"] == ["taskflow"]
    assert told["notes"] == []


def write(folder: Path, text: str) -> Path:
    """Writes a file of theirs."""
    file = folder / "flow_theirs.py"
    file.write_text(text)
    return file


def test_a_taskflow_function_that_is_called_again_is_named_as_airflow_does(home: Home, tmp_path: Path) -> None:  # noqa: F811
    text = """
    from airflow.sdk import dag, task
    from airflow.utils.task_group import TaskGroup

    @dag
    def again():
        @task
        def one() -> int:
            return 1

        @task(task_id="plus")
        def two(x: int) -> int:
            return x + 1

        last = two(two(one()))
        two.override(task_id="own")(last)
        two.partial().expand(x=[1, 2])
        with TaskGroup("inner"):
            two(last)
            two(last)

    again()
    """
    file, notes = converted(text, tmp_path)
    assert notes == []
    shown = json.loads(home.command("dag", "show", str(file), "--json"))
    nodes = {node["id"]: node.get("upstream", []) for node in shown["nodes"]}
    assert nodes["plus__1"] == ["plus"]
    assert nodes["own"] == nodes["inner.plus"] == nodes["inner.plus__1"] == ["plus__1"]
    assert nodes.keys() - {"inner"} == {"one", "plus", "plus__1", "own", "plus__2", "inner.plus", "inner.plus__1"}
    looped = text.replace("last = two(two(one()))", "last = [two(n) for n in (1, 2)][0]")
    _, (note,) = converted(looped, tmp_path)
    assert note == "line 15: two is called in a loop: name each: two.named(f'plus_{…}')"


def test_the_result_is_python_whatever_the_constants_say(tmp_path: Path) -> None:
    file, _ = converted(CLASSIC, tmp_path)
    subprocess.run([sys.executable, "-m", "py_compile", str(file)], check=True)


def test_a_teardown_and_an_sla_are_carried() -> None:
    found = convert(
        "from datetime import timedelta\n"
        "from airflow.sdk import dag, task\n"
        "@task\ndef start(): return 'c'\n"
        "@task\ndef stop(): print('gone')\n"
        "@task(sla=timedelta(minutes=5))\ndef work(): return 1\n"
        "@dag\ndef d():\n"
        "    s = start()\n"
        "    with stop().as_teardown(setups=s, on_failure_fail_dagrun=True):\n"
        "        work()\n"
        "    start.override(task_id='other')().as_setup() >> work.override(task_id='more')()\n"
        "d()\n"
    )
    assert "with s.teardown(stop(), fails_run=True):" in found.text
    assert "deadline=300" in found.text
    assert [note.what for note in found.notes] == ["as_setup is not carried here"]
    assert "start.named('other')() >> work.named('more')()" in found.text
