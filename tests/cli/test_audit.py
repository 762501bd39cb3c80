"""`clearance audit` with the real command: a run is in the log, and whoever has file and key can tell."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

PIPELINE = """
from clearance import dag, task

@task
def one() -> int:
    return 1

main = dag("main", one)
"""


def test_a_run_is_in_the_log_and_the_log_is_verified_elsewhere(home: Path, tmp_path: Path, clearance):
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    assert clearance("run", "pipeline.py").code == 0
    entries = json.loads(clearance("audit", "log", "--json").out)
    assert [entry["action"] for entry in entries] == ["artifact.signed", "run.submitted", "log.opened"]
    assert [each["number"] for each in json.loads(clearance("audit", "log", "--action", "run.", "--json").out)] == [1]
    assert "main/1" in clearance("audit", "log", "--subject", "main/1").out
    assert "3 entries of clearance.dev/log/" in clearance("audit", "verify").out

    assert clearance("audit", "export", "-o", "log.txt").code == 0
    assert clearance("audit", "prove", "2", "-o", "proof.json").code == 0
    kept = clearance("audit", "checkpoint")
    (tmp_path / "kept.txt").write_text(kept.out)
    key = str(home / "trust" / "installation.pub")
    assert clearance("audit", "verify", "log.txt", "--key", key, "--checkpoint", "kept.txt").code == 0
    assert "entry 2 is in the log of 3" in clearance("audit", "verify", "proof.json", "--key", key).out
    refused = clearance("audit", "verify", "log.txt")
    assert refused.code == 2
    assert "--key" in refused.err

    assert clearance("run", "pipeline.py").code == 0
    assert clearance("audit", "prove", "--since", "kept.txt", "-o", "growth.json").code == 0
    assert "goes on from its checkpoint of 3" in clearance("audit", "verify", "growth.json", "--key", key).out

    text = (tmp_path / "log.txt").read_text()
    (tmp_path / "log.txt").write_text(text.replace('"dag":"main"', '"dag":"mine"'))
    refused = clearance("audit", "verify", "log.txt", "--key", key)
    assert refused.code == 3
    assert "entry-edited: entry 1 (run.submitted main/1)" in refused.out

    with sqlite3.connect(home / "clearance.db") as database:
        database.execute("DELETE FROM audit WHERE number = 1")
    refused = clearance("audit", "verify")
    assert refused.code == 3
    assert "entry-dropped: entry 1" in refused.out


def test_usage_is_refused_with_the_mend(home: Path, tmp_path: Path, clearance):
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    assert clearance("run", "pipeline.py").code == 0
    for arguments in (("audit", "prove"), ("audit", "prove", "99")):
        assert clearance(*arguments).code == 2
    (tmp_path / "junk").write_text("x")
    assert clearance("audit", "verify", "junk", "--key", str(home / "trust" / "installation.pub")).code == 3
    assert clearance("audit", "prove", "--since", "junk").code == 3
