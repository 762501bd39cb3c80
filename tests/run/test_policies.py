"""The policy that is set, asked by the controller: of inputs, and of a model that is to be served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.runs import Home

pytest.importorskip("cedarpy", reason="needs the extra trust")

from clearance.run.policies import Policies
from clearance.settings import Settings
from clearance.store.database import Database
from clearance.trust import dsse, evidence
from clearance.trust.attest import Attestor
from clearance.trust.entitled import grant, withdraw
from clearance.trust.keys import SigningKey, new_key
from clearance.trust.provenance import Facts
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of

PIPELINE = """
from clearance import Endpoint, Model, context, dag, task

@task
def train() -> Model:
    folder = context.directory / "model"
    folder.mkdir()
    (folder / "weight.txt").write_text("3.0")
    return Model(folder)

def load(model: Model):
    def scale(x: float) -> float:
        return x
    return scale

@task
def serve(model: Model) -> Endpoint:
    from clearance.serve import deploy
    return deploy("scale", model, load)

main = dag("main", train >> serve)
"""
POLICY = """
@id("anybody") permit (principal, action, resource);
@id("evaluated") @needs("tests") @reason("nobody has evaluated it") @mend("evaluate it")
forbid (principal, action == Action::"serve", resource)
unless { !(resource.kind == "model") || context has tests && context.tests.result == "PASSED" };
"""


@pytest.fixture
def served(home: Home, tmp_path: Path) -> str:
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "mine.cedar").write_text(POLICY)
    home.environment["CLEARANCE_POLICY"] = str(tmp_path / "mine.cedar")
    return str(tmp_path / "pipeline.py")


def test_a_model_is_served_only_with_what_the_policy_asks(home: Home, served: str, tmp_path: Path):
    printed = home.command("run", served, expect=3)
    assert "nobody has evaluated it (missing evidence: tests)" in printed
    assert "[evaluated]" in home.command("why", "main/1", "serve")
    digest = json.loads(home.command("artifact", "show", "main/1", "train", "--json"))["digest"]
    (tmp_path / "result.json").write_text(json.dumps({"result": "PASSED", "configuration": []}))
    predicate = ("--predicate", str(tmp_path / "result.json"))
    home.command("trust", "attest", digest, "--kind", "test-result", *predicate)
    home.command("retry", "main/1")
    home.command("services", "stop", "scale")


def test_who_may_say_what_is_asked_anew_each_time_and_users_are_those_of_the_database(tmp_path: Path):
    (tmp_path / "mine.cedar").write_text(
        '@id("ml") permit (principal in Group::"ml", action, resource) when { principal.roles.contains("operator") };'
        '@id("scanned") @needs("licences") @reason("no report") @mend("scan it")'
        "forbid (principal, action, resource) unless { context has licences };"
    )
    settings = Settings(home=tmp_path / "home", policy=str(tmp_path / "mine.cedar"))
    settings.make_home()
    attestor, scanner = Attestor(settings.home), SigningKey(new_key())
    data = b"1"
    artifact = Artifact(digest=digest_of(data), serializer="json", type="int", size=len(data), inline=data)
    facts = Facts(
        run="main/1", dag="main", task="train", attempt="k", bundle=artifact.digest, dag_version=artifact.digest,
        environment=artifact.digest, started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z",
    )  # fmt: skip
    fresh = attestor.attest(artifact, facts)
    kind = evidence.kind_of("licences")
    said = kind.form(components=(), allowed=True, policy=evidence.Described("x"))
    report = dsse.sign(evidence.encode(kind, "x", artifact.digest, said), [scanner])
    with Database(settings.database) as database:
        database.migrate()
        policies = Policies(settings, database, lambda: attestor)

        def rules(asker: str, envelope: bytes = report) -> str:
            denied, warnings = policies.judge(asker, "use", [("x", artifact, envelope)], 1.8e9)
            assert warnings == ()
            return denied.rule if denied else ""

        database.write("account_put", "ann", '["ml"]', '["operator"]', 1.0)
        assert rules("ann", fresh) == "scanned"
        assert rules("ann") == "scanned"
        grant(settings.home, "scanner", scanner.public)
        assert rules("ann") == ""
        assert rules("bob") == "no-permit"
        withdraw(settings.home, "scanner", scanner.public.id)
        grant(settings.home, "tester", scanner.public)
        assert rules("ann") == "scanned"
        grant(settings.home, "scanner", scanner.public)
        assert rules("ann") == ""
        database.write("account_revoke", 2.0, "ann")
        assert rules("ann") == "no-permit"
