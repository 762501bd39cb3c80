from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from clearance.errors import Refused
from clearance.trust import provenance, statement
from clearance.trust.attest import Attestor
from clearance.trust.environment import environment_lock
from clearance.trust.policy import GRANTED, Input, TrustDesk
from clearance.trust.provenance import Facts, Provenance
from clearance.trust.statement import Subject
from clearance.types.artifact import Artifact
from clearance.types.digest import Digest, digest_of

D = digest_of(b"artifact")
FACTS = Facts(
    run="r1",
    dag="demo",
    task="train",
    attempt="r1.train.1",
    function="pipeline:train",
    bundle=digest_of(b"bundle"),
    dag_version=digest_of(b"dag"),
    environment=digest_of(b"lock"),
    parameters={"epochs": 3},
    inputs={"data": digest_of(b"data")},
    started="2026-01-01T00:00:00Z",
    finished="2026-01-01T00:01:00Z",
)


@pytest.fixture
def attestor(tmp_path: Path) -> Attestor:
    return Attestor(tmp_path)


def test_provenance_says_how_it_was_made(attestor: Attestor) -> None:
    envelope = attestor.attest(Artifact(D, 8, "json"), FACTS)
    said = attestor.verify(envelope, D)
    assert said == provenance.provenance(FACTS)
    assert said.dependency("bundle") == FACTS.bundle
    assert said.dependency("dag") == FACTS.dag_version
    assert said.dependency("environment") == FACTS.environment
    assert said.dependency("input:data") == FACTS.inputs["data"]
    assert said.dependency("input:other") is None
    assert said.runDetails.builder.id == "https://clearance.dev/builder/local/process"


def test_the_statement_has_the_shape_of_slsa_v1(attestor: Attestor) -> None:
    """The fields that slsa.dev/spec/v1.0/provenance and in-toto Statement v1 require, read by a plain parser."""
    envelope = json.loads(attestor.attest(D, FACTS))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    said = json.loads(b64decode(envelope["payload"], validate=True))
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    assert said["subject"] == [{"name": "demo/train", "digest": {"sha256": D[7:]}}]
    definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    assert definition["buildType"].startswith("https://")
    assert definition["externalParameters"]["parameters"] == {"epochs": 3}
    assert all(set(item) == {"name", "digest"} for item in definition["resolvedDependencies"])
    assert details["metadata"] == {
        "invocationId": "r1.train.1",
        "startedOn": "2026-01-01T00:00:00Z",
        "finishedOn": "2026-01-01T00:01:00Z",
    }


def test_the_same_facts_give_the_same_statement() -> None:
    one, two = (statement.encode((Subject("a", {"sha256": "00"}),), "p", provenance.provenance(FACTS)) for _ in "12")
    assert one == two


def test_an_envelope_about_something_else_or_by_someone_else_is_refused(attestor: Attestor, tmp_path: Path) -> None:
    envelope = attestor.attest(D, FACTS)
    with pytest.raises(Refused, match="not about"):
        attestor.verify(envelope, digest_of(b"other"))
    with pytest.raises(Refused, match="another key signed it"):
        Attestor(tmp_path / "other").verify(envelope, D)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{}", "malformed"),
        (b'{"_type":"x","subject":[],"predicateType":"p","predicate":{}}', "is expected"),
        (b'{"_type":"%b","subject":[],"predicateType":"q","predicate":{}}', "is expected"),
        (b'{"_type":"%b","subject":[],"predicateType":"p","predicate":{}}', "no subject"),
        (b'{"_type":"%b","subject":[{"name":"a","digest":{}}],"predicateType":"p","predicate":{}}', "no digest"),
        (
            b'{"_type":"%b","subject":[{"name":"a","digest":{"sha256":"XY"}}],"predicateType":"p","predicate":{}}',
            "no dig",
        ),
        (b'{"_type":"%b","subject":[{"name":"a","name":"b","digest":{}}],"predicateType":"p","predicate":{}}', "twice"),
        (b'{"_type":"%b","subject":[],"predicateType":"p","predicate":{"a":1,"a":2}}', "twice"),
        (b'{"_type":"%b","subject":[],"predicateType":"p","predicate":NaN}', "NaN"),
        (b'{"_type":"%b","subject":[],"predicateType":"p","predicate":{},"x":1}', "unknown field"),
        (
            b'{"_type":"%b","subject":[{"name":"a","digest":{"sha256":"00"}}],"predicateType":"p","predicate":{}}',
            "predic",
        ),
    ],
)
def test_statements_with_two_readings_or_another_shape_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        statement.decode(data.replace(b"%b", statement.TYPE.encode()), "p", Provenance)


def test_the_desk_names_the_rule_and_the_mend(attestor: Attestor) -> None:
    desk = TrustDesk(attestor)
    good = attestor.attest(D, FACTS)
    assert desk.judge_inputs([]) == GRANTED
    assert desk.judge_inputs([Input("literal", D), Input("data", D, "make", good)]) == GRANTED
    assert desk.judge_inputs([Input("data", D, "make", good)] * 2) == GRANTED
    for item in (
        Input("data", D, "make"),
        Input("data", digest_of(b"changed"), "make", good),
        Input("data", D, "make", good.replace(b"payload", b"payloae")),
    ):
        verdict = desk.judge_inputs([Input("data", D, "make", good), item])
        assert not verdict.allowed
        assert verdict.rule == "inputs-signed"
        assert "clear 'make'" in verdict.reason


def test_the_desk_remembers_a_bounded_number_of_envelopes() -> None:
    class Counting:
        """Stands for the attestor, to count what it is asked."""

        def __init__(self) -> None:
            self.asked = 0

        def verify(self, envelope: bytes, digest: Digest) -> None:
            self.asked += 1

        def verify_model(self, bundle: bytes, manifest: Any) -> None:
            pass

    counting = Counting()
    desk = TrustDesk(counting, memory=2)
    for name in (b"1", b"1", b"2", b"3", b"1"):
        assert desk.judge_inputs([Input("x", digest_of(name), "t", name)]).allowed
    assert counting.asked == 4


def test_the_lock_lists_what_would_be_imported(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in ("Foo_Bar-1.0.dist-info", "plain-2.1.post1.dist-info", "not-a-distribution", "old-1-py3.11.egg-info"):
        (first / folder).mkdir(parents=True)
    (second / "foo.bar-9.dist-info").mkdir(parents=True)
    lock = environment_lock([str(first), str(second), str(tmp_path / "missing")])
    assert lock.text.splitlines()[1:] == ["foo-bar==1.0", "old==1", "plain==2.1.post1"]
    assert lock.digest == digest_of(lock.text.encode())
    real = environment_lock().text
    assert "\npytest==" in real
    assert real == environment_lock().text


def test_cryptography_is_imported_by_the_first_signature_only(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "import clearance.trust.attest, clearance.trust.policy, clearance.trust.environment, clearance.serve\n"
        "import clearance.trust.dsse, clearance.trust.provision, clearance.store.download\n"
        "attestor = clearance.trust.attest.Attestor(Path(sys.argv[1]))\n"
        "print([name for name in ('cryptography', 'ssl', 'starlette', 'uvicorn', 'http') if name in sys.modules])\n"
        "attestor.key_id; print('cryptography' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
