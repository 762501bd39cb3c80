"""`clearance trust scan`: what is found, what is refused, and the files that are written."""

from __future__ import annotations

import json
import pickle
import struct
import sys
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


def test_the_index_lies_in_a_home_that_nobody_else_may_enter(clearance, home: Path, database: Path, lock: Path):
    clearance("trust", "scan", "deps", lock, "--database", database)
    (index,) = (home / "trust" / "osv-index").iterdir()
    assert [each.stat().st_mode & 0o077 for each in (home / "trust", index.parent, index)] == [0, 0, 0]
    assert clearance("trust", "keys", "list").code == 0


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
        "timestamp": "2024-01-01T00:00:00Z", "statements": [statement],
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


def test_the_reports_can_be_attested(clearance, database: Path, lock: Path, tmp_path: Path):
    out = tmp_path / "report.json"
    clearance("trust", "scan", "deps", lock, "--database", database, "--predicate", out)
    assert json.loads(out.read_bytes())["scanner"]["result"][0]["id"] == "CVE-2026-5"
    clearance("trust", "scan", "licences", "--predicate", out)
    assert {"name", "licence"} <= json.loads(out.read_bytes())["components"][0].keys()


def test_a_model_with_conditions_is_refused_until_they_are_allowed(clearance, tmp_path: Path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: llama3\n---\n")
    done = clearance("trust", "scan", "licences", tmp_path)
    assert done.code == 3
    assert "700 million monthly users" in done.out
    assert clearance("trust", "scan", "licences", card, "--allow", "llama3").code == 0
    assert clearance("trust", "scan", "licences", card, "--allow", "llama3", "--deny", "llama3").code == 3
    assert clearance("trust", "scan", "licences", card, "--allow", "lama3").code == 2
    card.write_text("---\nlicense: mit\n---\n")
    assert clearance("trust", "scan", "licences", card).code == 0
    assert clearance("trust", "scan", "licences", card, "--only", "--allow", "ISC").code == 3


def test_a_secret_is_refused_and_not_printed(clearance, tmp_path: Path):
    secret = "AKIA" + "QXKD4MWB2RTLPCZ7"
    file = tmp_path / "config.py"
    file.write_text(f"\nkey = '{secret}'\n")
    for more in ([], ["--json"]):
        done = clearance("trust", "scan", "secrets", file, *more)
        assert done.code == 3
        assert "secret-aws-access-key" in done.out
        assert secret not in done.out + done.err
    file.write_text("key = None\n")
    assert clearance("trust", "scan", "secrets", file).code == 0


def test_dangerous_code_is_refused_until_it_is_accepted_with_a_reason(clearance, tmp_path: Path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("import torch\ntorch.load(f)\n")
    done = clearance("trust", "scan", "code", folder)
    assert done.code == 3
    assert f"{folder}/a.py:2" in done.out
    assert "weights_only=True" in done.out
    accept = tmp_path / "accept.toml"
    accept.write_text('[[accept]]\nrule = "torch-load"\nfile = "a.py"\nreason = "written by the task before"\n')
    done = clearance("trust", "scan", "code", folder, "--accept", accept)
    assert done.code == 0
    assert "written by the task before" in done.out
    (folder / "b.py").write_text("print 'x'\n")
    assert clearance("trust", "scan", "code", folder, "--accept", accept, "--refuse-from", "critical").code == 3


def test_a_model_is_judged_by_its_content(clearance, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    done = clearance("trust", "scan", "model", folder, "--json")
    assert done.code == 0
    assert json.loads(done.out)["formats"] == {"model.safetensors": "safetensors"}
    (folder / "README.md").write_bytes(pickle.dumps([Path]))
    out = tmp_path / "out.sarif"
    done = clearance("trust", "scan", "model", folder, "--sarif", out)
    assert done.code == 3
    assert "README.md" in done.out
    assert "2 files, 1 finding, 1 refused" in done.err
    assert json.loads(out.read_bytes())["runs"][0]["results"][0]["ruleId"] == "pickle"


def test_a_report_that_cannot_be_written_is_told(clearance, tmp_path: Path):
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    done = clearance("trust", "scan", "code", file, "--sarif", tmp_path / "none" / "out.sarif")
    assert done.code == 2
    assert "cannot write" in done.err


def test_nothing_to_scan_is_not_clean(clearance, tmp_path: Path):
    folder = tmp_path / "empty"
    folder.mkdir()
    for kind in ("deps", "licences", "secrets", "code", "model"):
        assert clearance("trust", "scan", kind, folder).code == 3, kind


@pytest.mark.parametrize(("kind", "module"), [("secrets", "detect_secrets.core"), ("licences", "license_expression")])
def test_a_missing_extra_is_named(clearance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str):
    from clearance.trust.scan import licences

    licences._licensing.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "README.md").write_text("---\nlicense: isc\n---\n")
    done = clearance(
        "trust", "scan", kind, tmp_path / "README.md", *(["--allow", "BSD-4-Clause"] if kind == "licences" else [])
    )
    assert done.code == 2
    assert "pip install 'clearance[trust]'" in done.err
