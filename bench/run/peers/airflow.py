"""Airflow: a DAG of no-op Python tasks in a chain, by its scheduler with the LocalExecutor, on PostgreSQL.

Starts what Airflow 3 needs (api-server, scheduler, dag-processor) with its default settings, waits until the scheduler
has made the one run and it has ended, and reads the times from Airflow's own tables: from the first task's start to the
run's end, by the tasks. Arguments: the database's URL (its tables are made here), an empty folder.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg2

LENGTH = 8
DAG = f"""
from datetime import datetime
from airflow.sdk import DAG, task

@task
def step():
    pass

with DAG("chain", schedule="@once", start_date=datetime(2024, 1, 1), catchup=False):
    last = None
    for number in range({LENGTH}):
        here = step.override(task_id=f"t{{number}}")()
        if last is not None:
            last >> here
        last = here
"""


def main() -> None:
    """Prints seconds a step."""
    url, home = sys.argv[1], Path(sys.argv[2])
    (home / "dags").mkdir()
    (home / "dags/chain.py").write_text(DAG)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "CORE__DAGS_FOLDER": home / "dags",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__INTERNAL_API_SECRET_KEY": secrets.token_hex(16),
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__SECRET_KEY": secrets.token_hex(16),
        "API__WORKERS": "1",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "DATABASE__SQL_ALCHEMY_CONN": url.replace("postgresql://", "postgresql+psycopg2://"),
        "LOGGING__BASE_LOG_FOLDER": home / "logs",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    environment = dict(os.environ) | {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
    environment |= {"AIRFLOW_HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    airflow = [sys.executable, "-m", "airflow"]
    log = (home / "output.log").open("wb")
    subprocess.run([*airflow, "db", "migrate"], env=environment, stdout=log, stderr=log, check=True, cwd=home)
    parts = [["api-server"], ["scheduler", "--skip-serve-logs"], ["dag-processor"]]
    started = [subprocess.Popen([*airflow, *part], env=environment, stdout=log, stderr=log, cwd=home) for part in parts]
    try:
        database = psycopg2.connect(url)
        database.autocommit = True
        cursor = database.cursor()
        while True:
            time.sleep(0.5)
            cursor.execute("SELECT state FROM dag_run WHERE dag_id = 'chain'")
            state = (cursor.fetchone() or ("",))[0]
            if state == "success":
                break
            if state == "failed" or any(process.poll() is not None for process in started):
                sys.exit(f"the run is {state or 'not made'}: {(home / 'output.log').read_text()[-2000:]}")
        cursor.execute(
            "SELECT extract(epoch FROM max(run.end_date) - min(task.start_date)), count(*) FROM dag_run run"
            " JOIN task_instance task ON task.run_id = run.run_id WHERE run.dag_id = 'chain'"
        )
        seconds, tasks = cursor.fetchone()
        print(f"step_s: {float(seconds) / tasks!r}", flush=True)
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
