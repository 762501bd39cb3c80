"""`clearance policy` with the real command, on what was really made and attested."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

pytest.importorskip("cedarpy", reason="needs the extra trust")

from clearance.trust.keys import SigningKey, new_key

PIPELINE = """
from clearance import dag, task

@task
def train() -> int:
    return 1

main = dag("main", train)
"""
SUITE = """
policy: mine.cedar
tests:
  - {name: unsigned, evidence: {vulnerabilities: {}}, expect: deny, rules: [signed]}
"""


def test_a_bundle_is_copied_changed_and_checked(home: Path, clearance, tmp_path: Path):
    assert [line.partition(":")[0] for line in clearance("policy", "bundle").out.splitlines()] == [
        "dev", "team", "production",
    ]  # fmt: skip
    assert clearance("policy", "bundle", "--schema").out.startswith("// What a policy's rules can ask")
    assert clearance("policy", "bundle", "production", "-o", "mine.cedar").code == 0
    assert clearance("policy", "bundle", "team", "-o", "mine.cedar").code == 2
    assert clearance("policy", "bundle", "prod").code == 2
    checked = clearance("policy", "check", "mine.cedar")
    assert checked.code == 0
    assert "sandboxed" in checked.out
    listed = json.loads(clearance("policy", "check", "mine.cedar", "--json").out)
    assert {"rule", "effect", "needs", "reason", "mend"} == set(listed["rules"][0])
    text = (tmp_path / "mine.cedar").read_text()
    (tmp_path / "mine.cedar").write_text(text.replace("context.provenance.ours", "context.provenance.our"))
    wrong = clearance("policy", "check", "mine.cedar")
    assert wrong.code == 2
    assert "rule 'provenance'" in wrong.err


def test_tests_of_a_policy_pass_or_fail_with_exit_code_1(home: Path, clearance, tmp_path: Path):
    clearance("policy", "bundle", "team", "-o", "mine.cedar")
    (tmp_path / "suite.yaml").write_text(SUITE)
    good = clearance("policy", "test", "suite.yaml")
    assert good.code == 0
    assert good.out.splitlines() == [
        "ok   unsigned: deny by signed",
        "no test makes these rules decide: scanned, no-critical, not-rejected",
        "1 test, 0 failed",
    ]
    bad = clearance("policy", "test", "suite.yaml", "--policy", "dev")
    assert bad.code == 1
    assert "FAIL unsigned: expected deny, decided allow by anybody" in bad.out
    assert json.loads(clearance("policy", "test", "suite.yaml", "--json").out)["outcomes"][0]["decision"] == "deny"
    (tmp_path / "suite.yaml").write_text(SUITE.replace("signed]", "sined]"))
    assert clearance("policy", "test", "suite.yaml").code == 2


def test_what_is_stored_is_explained_by_its_verified_attestations(home: Path, clearance, tmp_path: Path):
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    assert clearance("run", "pipeline.py").code == 0
    digest = json.loads(clearance("artifact", "show", "main/1", "train", "--json").out)["digest"]
    explain = ("policy", "explain", digest, "--policy", "team", "--action", "serve")
    denied = clearance(*explain)
    assert denied.code == 3
    assert "DENIED by team: scanned" in denied.out
    assert "deny  scanned: nobody has looked for vulnerabilities [missing evidence: vulnerabilities]" in denied.out

    scanner = SigningKey(new_key())
    (tmp_path / "scanner.pem").write_bytes(scanner.private_pem())
    (tmp_path / "scanner.pem").chmod(0o600)
    (tmp_path / "scanner.pub").write_bytes(scanner.public.pem)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    critical = {"id": "CVE-1", "severity": [{"method": "nvd", "score": "critical"}]}
    report = {
        "scanner": {"uri": "x", "result": [critical], "db": {"lastUpdate": now}},
        "metadata": {"scanStartedOn": now, "scanFinishedOn": now},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert clearance("trust", "entitle", "scanner", "scanner.pub").code == 0
    attest = ("trust", "attest", digest, "--kind", "vulnerabilities", "--predicate", "report.json")
    assert clearance(*attest, "--key", "scanner.pem").code == 0
    found = clearance(*explain, "--json")
    assert found.code == 3
    told = json.loads(found.out)
    assert told["rules"] == ["no-critical"]
    assert told["evidence"]["vulnerabilities"]["critical"] == 1

    vex = {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "ann", "timestamp": now, "version": 1,
        "statements": [
            {"vulnerability": {"name": "CVE-1"}, "status": "not_affected", "justification": "component_not_present"}
        ],
    }  # fmt: skip
    (tmp_path / "vex.json").write_text(json.dumps(vex))
    excuse = ("trust", "attest", digest, "--kind", "vex", "--predicate", "vex.json")
    assert clearance(*excuse, "--key", "scanner.pem").code == 3
    assert clearance(*excuse).code == 0
    allowed = clearance(*explain)
    assert allowed.code == 0
    assert "ALLOWED by team: anybody" in allowed.out
    assert clearance("trust", "entitle", "scanner", scanner.public.id, "--withdraw").code == 0
    assert "counts for nothing: signature-wrong" in clearance(*explain).out


def test_a_written_request_is_explained_and_users_are_those_of_the_installation(home: Path, clearance, tmp_path: Path):
    (tmp_path / "request.yaml").write_text("action: serve\nevidence: {signatures: 1, vulnerabilities: {}}\n")
    assert clearance("policy", "explain", "request.yaml", "--policy", "team").code == 0
    assert clearance("policy", "explain", "request.yaml", "--policy", "production").code == 3
    warned = clearance("policy", "explain", "request.yaml", "--policy", "dev")
    assert (warned.code, "warn" in warned.out) == (0, False)
    (tmp_path / "request.yaml").write_text("action: serve\n")
    assert "warn  signed: nobody has signed it" in clearance("policy", "explain", "request.yaml", "--policy", "dev").out
    (tmp_path / "ml.cedar").write_text('@id("ml") permit (principal in Group::"ml", action, resource);')
    assert clearance("user", "add", "ann", "--group", "ml").code == 0
    asked = ("policy", "explain", "sha256:" + "0" * 64, "--policy", "ml.cedar")
    assert clearance(*asked, "--user", "ann").code == 0
    assert "no rule permits" in clearance(*asked).out
    assert clearance(*asked, "--user", "bob").code == 2
    assert clearance("policy", "explain", "sha256:0", "--policy", "ml.cedar").code == 2


USED = PIPELINE.replace(
    'main = dag("main", train)',
    """
@task
def use(number: int) -> int:
    return number + 1

main = dag("main", train >> use)
""",
)


def test_the_desk_asks_the_policy_that_is_set(home: Path, clearance, tmp_path: Path, monkeypatch):
    (tmp_path / "pipeline.py").write_text(USED)
    monkeypatch.setenv("CLEARANCE_POLICY", "team")
    with pytest.raises(SystemExit, match="3"):
        clearance("run", "pipeline.py")
    why = clearance("why", "main/1", "use").out
    assert "scanned: nobody has looked for vulnerabilities" in why
    entries = json.loads(clearance("audit", "log", "--json").out)
    assert "policy.denied" in {each["action"] for each in entries}

    digest = json.loads(clearance("artifact", "show", "main/1", "train", "--json").out)["digest"]
    now = datetime.datetime.now(datetime.UTC).isoformat()
    report = {
        "scanner": {"uri": "x", "result": [], "db": {"lastUpdate": now}},
        "metadata": {"scanStartedOn": now, "scanFinishedOn": now},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert clearance("trust", "attest", digest, "--kind", "vulnerabilities", "--predicate", "report.json").code == 0
    assert clearance("retry", "main/1").code == 0
    assert "policy team allows it" in clearance("why", "main/1", "use").out


def test_a_warning_is_told_and_a_policy_that_is_refused_stops_the_start(
    home: Path, clearance, tmp_path: Path, monkeypatch
):
    (tmp_path / "pipeline.py").write_text(USED)
    monkeypatch.setenv("CLEARANCE_POLICY", "dev")
    assert clearance("run", "pipeline.py").code == 0
    assert "policy dev allows it, and warns: scanned" in clearance("why", "main/1", "use").out
    monkeypatch.setenv("CLEARANCE_POLICY", "prod")
    refused = clearance("run", "pipeline.py")
    assert refused.code == 2
    assert "policy 'prod': no such file" in refused.err
    (tmp_path / "mine.cedar").write_text('@id("all") permit (principal, action, resource) when { context.x };')
    monkeypatch.setenv("CLEARANCE_POLICY", "mine.cedar")
    assert "rule 'all'" in clearance("run", "pipeline.py").err
