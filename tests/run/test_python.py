"""`Dag.run(…)` from a script, as people call it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.runs import SOURCE, Home

SCRIPT = """
from pathlib import Path
from clearance import Tree, context, dag, task

@task
def number(x: int = 1, word: str = "a") -> dict[str, object]:
    return {"x": x, "word": word}

@task
def folder(given: dict[str, object]) -> Tree:
    made = context.directory / "made"
    made.mkdir()
    (made / "file.txt").write_text(str(given["x"]))
    return Tree(made)

@task
def fails() -> int:
    raise ValueError("as it should")

plain = dag("plain", number >> folder)
broken = dag("broken", fails)

if __name__ == "__main__":
    from clearance.errors import RunFailed
    finished = plain.run(x=41, word="7", run_id="mine")
    print(finished.id, finished.state, finished.result("number"))
    print((finished.result("folder").path / "file.txt").read_text())
    try:
        broken.run()
    except RunFailed as error:
        print("RunFailed", error)
"""


def test_a_script_runs_its_dag_and_reads_the_results(home: Home, tmp_path: Path):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    environment = dict(os.environ) | {"CLEARANCE_HOME": str(home.path), "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, str(file)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "mine success {'x': 41, 'word': '7'}" in lines
    assert "41" in lines
    assert any(line.startswith("RunFailed run broken/1 failed") for line in lines)
    assert home.processes() == {}
