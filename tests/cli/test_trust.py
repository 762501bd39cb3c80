"""`clearance trust` and `clearance user` with the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clearance.trust.keys import SigningKey, new_key

PIPELINE = """
from clearance import Model, context, dag, task

@task
def train() -> Model:
    folder = context.directory / "model"
    folder.mkdir()
    (folder / "weights.txt").write_text("3.0")
    return Model(folder)

@task
def count(model: Model) -> int:
    return 1

main = dag("main", train >> count)
"""


@pytest.fixture
def ran(home: Path, tmp_path: Path, clearance) -> Path:
    """A home in which a model was made and used."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    done = clearance("run", "pipeline.py")
    assert done.code == 0, done.err
    return home


def actions(clearance) -> list[str]:
    return [entry["action"] for entry in json.loads(clearance("audit", "log", "--json").out)]


def test_users_and_keys_come_and_go_and_the_log_knows(home: Path, clearance):
    assert clearance("user", "add", "ann", "--group", "ml", "--role", "operator").code == 0
    made = json.loads(clearance("user", "add-key", "ann", "--label", "ci", "--json").out)
    assert made["key"].startswith("clr_")
    assert clearance("user", "add-key", "bob").code == 2
    assert clearance("user", "add", "ann", "--role", "king").code == 2
    listed = json.loads(clearance("user", "list", "--json").out)
    assert [(each["name"], each["groups"], each["keys"]) for each in listed] == [("ann", ["ml"], 1)]
    assert made["key"] not in clearance("user", "list", "--keys", "--json").out
    assert "is revoked\n" in clearance("user", "revoke-key", made["id"]).out
    assert "already" in clearance("user", "revoke-key", made["id"]).out
    assert "is revoked\n" in clearance("user", "revoke", "ann").out
    assert "already" in clearance("user", "revoke", "ann").out
    assert clearance("user", "revoke", "an").code == 2
    assert clearance("user", "revoke-key", "x").code == 2
    assert actions(clearance)[:5][::-1] == [
        "log.opened", "user.added", "api-key.added", "api-key.revoked", "user.revoked",
    ]  # fmt: skip
    assert clearance("audit", "verify").code == 0
    database = (home / "clearance.db").read_bytes() + (home / "clearance.db-wal").read_bytes()
    assert made["key"].split("_", 2)[2].encode() not in database


def test_a_rotated_key_leaves_everything_valid_and_a_revoked_one_nothing(ran: Path, clearance, tmp_path: Path):
    first = tmp_path / "first.pub"
    first.write_bytes((ran / "trust" / "installation.pub").read_bytes())
    [before] = json.loads(clearance("trust", "keys", "list", "--json").out)
    assert clearance("trust", "keys", "rotate").code == 0
    assert clearance("artifact", "verify", "main/1", "train").code == 0
    assert clearance("audit", "verify", "--key", str(first)).code == 0
    assert clearance("trust", "keys", "revoke", before["key"][:12], "--reason", "stolen").code == 0
    states = [each["state"] for each in json.loads(clearance("trust", "keys", "list", "--json").out)]
    assert states == ["signs", "revoked"]
    with pytest.raises(SystemExit):
        clearance("artifact", "verify", "main/1", "train")
    assert clearance("run", "pipeline.py").code == 0
    assert clearance("artifact", "verify", "main/2", "train").code == 0
    assert clearance("audit", "verify", "--key", str(first)).code == 0


def test_models_are_signed_and_verified_by_key_and_certificate(ran: Path, clearance, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("w")
    assert clearance("trust", "sign", "model").code == 0
    assert clearance("trust", "sign", "model").code == 2
    assert "1 file, signed by" in clearance("trust", "verify", "model").out
    key = str(ran / "trust" / "installation.pub")
    assert clearance("trust", "verify", "model", "--key", key).code == 0

    assert clearance("trust", "init-ca").code == 0
    assert clearance("trust", "init-ca").code == 2
    issued = json.loads(clearance("trust", "certificate", "issue", "ann", "--json").out)
    paths = ("--key", issued["key"], "--certificate", issued["certificate"])
    signature = str(tmp_path / "ann.sig")
    assert clearance("trust", "sign", "model", *paths, "-o", signature).code == 0
    verify = ("trust", "verify", "model", "--signature", signature)
    assert clearance(*verify, "--identity", issued["identity"]).code == 0
    refused = clearance(*verify)
    assert (refused.code, refused.out.split(":")[0]) == (3, "FAIL identity-unpinned")
    root = str(ran / "trust" / "ca" / "ca.pem")
    assert clearance(*verify, "--root", root, "--identity", issued["identity"]).code == 0
    (model / "weights").write_text("W")
    found = json.loads(clearance("trust", "verify", "model", "--key", key, "--json").out)
    assert (found["code"], found["file"]) == ("file-changed", "weights")
    (model / "weights").write_text("w")

    serial = f"{issued['serial']:x}"
    assert clearance("trust", "certificate", "revoke", serial).code == 0
    assert clearance(*verify, "--identity", issued["identity"]).out.startswith("FAIL certificate-revoked")
    assert json.loads(clearance("trust", "certificate", "list", "--json").out)[0]["revoked"]
    assert clearance("trust", "certificate", "refresh").code == 0
    assert clearance("trust", "certificate", "revoke", "ff").code == 2
    assert clearance("trust", "certificate", "revoke", "zz").code == 2


def test_a_stored_model_is_signed_from_its_digests(ran: Path, clearance, tmp_path: Path):
    assert clearance("trust", "sign", "--artifact", "main/1", "train", "-o", "stored.sig").code == 0
    assert clearance("artifact", "get", "main/1", "train", "-o", "out").code == 0
    assert clearance("trust", "verify", "out", "--signature", "stored.sig").code == 0
    assert clearance("trust", "verify", "out", "--signature", "out.sig").code == 0
    assert clearance("trust", "sign", "--artifact", "main/1", "count", "-o", "x.sig").code == 2
    assert clearance("trust", "sign").code == 2


def test_attestations_by_entitled_signers_and_the_chain(ran: Path, clearance, tmp_path: Path):
    shown = json.loads(clearance("artifact", "show", "main/1", "count", "--json").out)
    found = json.loads(clearance("trust", "lineage", shown["digest"], "--json").out)
    assert [link["name"] for link in found][:2] == ["main/count", "bundle"]
    assert {"main/train", "dag", "environment"} < {link["name"] for link in found}
    drawn = clearance("trust", "lineage", shown["digest"], "--graph", "chain.svg")
    assert drawn.code == 0
    assert "main/train" in drawn.out
    assert (tmp_path / "chain.svg").read_text().startswith("<svg")

    scanner = SigningKey(new_key())
    (tmp_path / "scanner.pem").write_bytes(scanner.private_pem())
    (tmp_path / "scanner.pem").chmod(0o600)
    (tmp_path / "scanner.pub").write_bytes(scanner.public.pem)
    report = {"components": [], "allowed": True, "policy": {"name": "team"}}
    (tmp_path / "licences.json").write_text(json.dumps(report))
    attest = ("trust", "attest", shown["digest"], "--predicate", "licences.json", "--key", "scanner.pem", "--kind")
    assert clearance(*attest, "licences").code == 3
    assert clearance("trust", "entitle", "scanner", "scanner.pub").code == 0
    assert clearance(*attest, "licences").code == 0
    assert clearance(*attest, "review").code == 3
    assert clearance(*attest, "opinion").code == 2
    (tmp_path / "licences.json").write_text(json.dumps(found[0]))
    assert clearance(*attest, "provenance").code == 3
    links = json.loads(clearance("trust", "lineage", shown["digest"], "--json").out)
    assert links[0]["attested"] == ["provenance", "licences"]
    assert json.loads(clearance("trust", "entitle", "--json").out) == [{"role": "scanner", "key": scanner.public.id}]
    assert clearance("trust", "entitle", "scanner", scanner.public.id, "--withdraw").code == 0
    assert clearance("trust", "lineage", "sha256:" + "0" * 64).code == 3
    assert clearance("trust", "lineage", "nonsense").code == 2
    assert {"statement.signed", "role.granted", "role.withdrawn"} < set(actions(clearance))
