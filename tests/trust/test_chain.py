"""The chain back to the sources: by signed provenance alone, and broken where that does not hold."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from cryptography.hazmat.primitives.asymmetric import ec

from clearance.trust import chain, dsse, evidence
from clearance.trust.evidence import Entitlements, kind_of
from clearance.trust.keys import SigningKey
from clearance.trust.provenance import Facts, provenance
from clearance.types.digest import Digest, digest_of

OWN, SCANNER = (SigningKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
ENTITLED = Entitlements([OWN.public], {"scanner": [SCANNER.public]})
BUNDLE, GRAPH, LOCK = (digest_of(each) for each in (b"bundle", b"graph", b"lock"))


def made(task: str, key: SigningKey = OWN, **inputs: Digest) -> tuple[Digest, bytes]:
    digest = digest_of(task.encode())
    facts = Facts(
        run="main/1", dag="main", task=task, attempt=task, bundle=BUNDLE, dag_version=GRAPH, environment=LOCK,
        inputs=inputs, started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z",
    )  # fmt: skip
    payload = evidence.encode(kind_of("provenance"), f"main/{task}", digest, provenance(facts))
    return digest, dsse.sign(payload, [key])


def test_the_chain_goes_back_to_the_sources_and_shared_inputs_are_one_node():
    raw, raw_said = made("raw")
    left, left_said = made("left", data=raw)
    right, right_said = made("right", rows=raw)
    model, model_said = made("model", left=left, right=right)
    stored = {raw: raw_said, left: left_said, right: right_said, model: model_said}
    links = chain.walk(model, lambda digest: [stored[digest]] if digest in stored else [], ENTITLED)
    found = {link.name: link for link in links}
    assert links[0].name == "main/model"
    assert set(found) == {"main/model", "main/left", "main/right", "main/raw", "bundle", "dag", "environment"}
    assert len(links) == 7
    assert found["main/raw"].used_as == ("data", "rows")
    assert found["main/raw"].depth == 2
    assert found["bundle"].is_source
    assert not any(link.refused for link in links)
    root = Xml.fromstring(chain.draw(links))
    assert root.tag.endswith("svg")
    assert len(root.findall("{http://www.w3.org/2000/svg}g")) == 7
    assert len(chain.walk(model, lambda digest: [stored[digest]] if digest in stored else [], ENTITLED, limit=3)) == 3


def test_the_chain_is_broken_where_nothing_holds_and_says_why():
    raw, forged = made("raw", SCANNER)
    model, model_said = made("model", data=raw)
    other, _ = made("other")
    stored = {model: [model_said], raw: [forged, model_said]}
    links = chain.walk(model, lambda digest: stored.get(digest, []), ENTITLED)
    broken = next(link for link in links if link.digest == raw)
    assert broken.made_by == broken.name == ""
    assert [code for code, _ in broken.refused] == ["signer-unentitled", "subject-other"]
    assert chain.walk(other, lambda digest: [], ENTITLED)[0].made_by == ""
    assert "no provenance" in chain.draw(links)
