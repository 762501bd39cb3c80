"""`clearance trust scan`: what is found, what is refused, and the files that are written."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from support.public import public


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An advisory about `demo` before 2.0, of today."""
    import datetime

    found = {
        "id": "PYSEC-2026-1", "aliases": ["CVE-2026-5"], "details": "demo is broken",
        "modified": datetime.datetime.now(datetime.UTC).isoformat(),
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "demo"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
            }
        ],
    }  # fmt: skip
    file = tmp_path / "osv.zip"
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("PYSEC-2026-1.json", json.dumps(found))
    return file


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "lock.txt"
    file.write_text("fine==1.0\ndemo==1.0\n")
    return file


def test_a_vulnerable_lock_is_refused_with_the_mend(clearance, database: Path, lock: Path):
    done = clearance("trust", "scan", "deps", lock, "--database", database)
    assert done.code == 3
    assert "CVE-2026-5" in done.out
    assert f"{lock}:2" in done.out
    assert "use demo>=2.0" in done.out
    assert "2 distributions, 1 finding, 1 refused; database of 20" in done.err


def test_a_lock_without_vulnerabilities_passes(clearance, database: Path, lock: Path):
    lock.write_text("demo==2.0\n")
    done = clearance("trust", "scan", "deps", lock, "--database", database)
    assert (done.code, done.out) == (0, "")
    assert "1 distribution, 0 findings, 0 refused" in done.err


def test_this_interpreter_is_judged_by_default(clearance, database: Path):
    done = clearance("trust", "scan", "deps", "--database", database, "--json")
    assert done.code == 0
    assert json.loads(done.out)["examined"] > 10


def test_without_a_database_nothing_is_clean(clearance, home: Path, lock: Path):
    done = clearance("trust", "scan", "deps", lock)
    assert done.code == 3
    assert "there is no vulnerability database at" in done.err
    assert str(home / "trust" / "osv.zip") in done.err


def test_an_old_database_is_refused(clearance, lock: Path):
    public_database = public("trust/osv/pypi.zip")
    done = clearance("trust", "scan", "deps", lock, "--database", public_database)
    assert (done.code, done.out) == (3, "")
    assert "--max-age" in done.err
    assert clearance("trust", "scan", "deps", lock, "--database", public_database, "--max-age", 36500).code == 0


def test_vex_lets_a_finding_pass_and_says_who(clearance, database: Path, lock: Path, tmp_path: Path):
    vex = tmp_path / "vex.json"
    statement = {
        "vulnerability": {"name": "CVE-2026-5"}, "products": [{"@id": "pkg:pypi/demo@1.0"}],
        "status": "not_affected", "justification": "vulnerable_code_not_present",
    }  # fmt: skip
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://a.example/1", "author": "Security", "version": 1,
        "timestamp": "2026-01-01T00:00:00Z", "statements": [statement],
    }  # fmt: skip
    vex.write_text(json.dumps(document))
    done = clearance("trust", "scan", "deps", lock, "--database", database, "--vex", vex)
    assert done.code == 0
    assert "passed" in done.out
    assert "Security says not_affected" in done.out
    vex.write_text("{}")
    assert clearance("trust", "scan", "deps", lock, "--database", database, "--vex", vex).code == 3


def test_the_findings_are_written_as_sarif(clearance, database: Path, lock: Path, tmp_path: Path):
    out = tmp_path / "out.sarif"
    assert clearance("trust", "scan", "deps", lock, "--database", database, "--sarif", out).code == 3
    (run,) = json.loads(out.read_bytes())["runs"]
    assert [each["ruleId"] for each in run["results"]] == ["CVE-2026-5"]


def test_the_least_severity_that_refuses_can_be_chosen(clearance, database: Path, lock: Path):
    """That of this advisory is not known."""
    done = clearance("trust", "scan", "deps", lock, "--database", database, "--refuse-from", "critical")
    assert done.code == 3
