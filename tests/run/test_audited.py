"""What the controller enters into the audit log: in the commit that makes it true, and verified by the key alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clearance.errors import LeaseLost, Refused
from clearance.graph.dag import dag
from clearance.graph.task import task
from clearance.run.credentials import Credentials
from clearance.run.host.credentials import AddApiKey, AddUser, Record, RevokeKey, RotateKey
from clearance.trust.audit.log import Entry, decode_entry
from clearance.trust.audit.reader import AuditReader
from clearance.trust.audit.verify import verify
from support.controllers import Tower, submit

Make = Callable[..., Tower]


@task
def one() -> int:
    return 1


@task
def two(x: int) -> int:
    return x


def entries(tower: Tower) -> list[Entry]:
    reader = AuditReader(tower.database)
    report = verify(
        ((leaf, text) for _, text, leaf in reader.entries()),
        list(reader.checkpoints()),
        tower.controller.evidence.attestor.verifiers(),
    )
    assert report.problems == ()
    return [decode_entry(text) for _, text, _ in reader.entries()]


def test_a_run_and_what_it_made_are_entered(tower: Make):
    made = tower()
    run = submit(made, dag("d", one >> two))
    for _ in range(6):
        for key in [key for key in made.engine.launched if key not in made.engine.finished]:
            made.engine.end(key, result=1)
        made.clock.now += 1
        made.controller.turn()
    found = entries(made)
    assert [(each.action, each.subject == run) for each in found[:2]] == [
        ("log.opened", False),
        ("run.submitted", True),
    ]
    signed = [each for each in found if each.action == "artifact.signed"]
    assert [(each.details["run"], each.details["task"]) for each in signed] == [(run, "one"), (run, "two")]


def test_a_denial_is_entered_with_its_rule(tower: Make):
    first = tower()
    run = submit(first, dag("d", one >> two))
    first.controller.turn()
    first.engine.end(next(iter(first.engine.launched)), result=1)
    first.controller.turn()
    first.engine.end_all("failed")
    first.controller.turn()
    first.database.dialect.execute("UPDATE attestation SET subject = 'sha256:0' WHERE kind = 'provenance'")
    first.clock.now += 60
    second = tower()  # which remembers nothing of what it has signed
    assert second.controller.resume(run)
    for _ in range(3):
        second.controller.turn()
    (denied,) = [each for each in entries(second) if each.action == "policy.denied"]
    assert denied.subject == f"{run} two"
    assert denied.details["rule"] == "inputs-signed"
    assert "has no provenance" in denied.details["reason"]


def test_credentials_are_entered_by_whoever_leads_and_by_nobody_else(tower: Make):
    made = tower()
    credentials = Credentials(made.controller)
    assert credentials.obey(AddUser("ann"), "me")
    credentials.obey(AddApiKey("ann"), "me")
    old = credentials.obey(RotateKey(), "me")["old"]
    assert credentials.obey(RevokeKey(old[:8], "stolen"), "me") == old
    with pytest.raises(Exception, match="cannot be entered from outside"):
        credentials.obey(Record("run.submitted", "x"), "me")
    assert [each.action for each in entries(made)] == [
        "log.opened", "user.added", "api-key.added", "key.rotated", "key.revoked",
    ]  # fmt: skip
    made.clock.now += 60
    other = tower()
    with pytest.raises(LeaseLost):
        credentials.obey(AddUser("eve"), "me")
    assert Credentials(other.controller).obey(AddUser("bob"), "me")
    assert [each.subject for each in entries(other)][-1] == "bob"
    assert other.database.rows("account_get", "eve") == []


def test_nothing_is_entered_before_what_was(tower: Make):
    made = tower()
    Credentials(made.controller).obey(AddUser("ann"), "me")
    made.clock.now -= 60
    with pytest.raises(Refused, match="set the clock"):
        Credentials(made.controller).obey(AddUser("bob"), "me")
    assert made.database.rows("account_get", "bob") == []
