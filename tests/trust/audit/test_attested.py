"""When something was signed, by the log: a certificate that has ended since does not void what it signed in time."""

from __future__ import annotations

import datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from clearance.errors import Refused
from clearance.trust import oms
from clearance.trust.audit import attested, export
from clearance.trust.audit.log import Note
from clearance.trust.authority import Authority
from clearance.trust.certificates import load_certificates
from clearance.trust.keys import SigningKey, parse_private_key
from clearance.trust.refusal import Rejected
from clearance.types.digest import digest_of
from support.audit import NOW, House

FILES = {"a": digest_of(b"a")}
DAY = datetime.timedelta(days=1)


def test_what_was_signed_in_time_holds_after_the_certificate_has_ended(house: House, tmp_path: Path):
    begun = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    authority = Authority(tmp_path / "ca")
    authority.make("house", begun)
    issued = authority.issue("ann", "user", begun, days=10)
    key = parse_private_key(issued.key.read_bytes(), None, "key")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bundle = oms.sign("m", FILES, SigningKey(key), load_certificates(issued.certificate))
    house.fill(3)
    house.enter(Note("bundle.signed", "x", "ann", {"envelope": digest_of(bundle)}))
    house.fill(20)
    keys = house.attestor.verifiers()
    authority.refresh(begun + 20 * DAY)

    def trust(at: float) -> oms.Certified:
        moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
        return oms.Certified(authority.authorities(), issued.identity, moment)

    with pytest.raises(Rejected) as error:
        oms.verify(bundle, trust(NOW + 20 * 86400))
    assert error.value.code == "certificate-expired"
    at = attested.find(house.reader, digest_of(bundle), keys)
    assert at == NOW + 4
    assert oms.verify(bundle, trust(at)).signer == issued.identity
    proof = export.inclusion(house.reader, 4)
    assert attested.time_of(proof, digest_of(bundle), keys) == at

    late = oms.sign("m", FILES, SigningKey(key), load_certificates(issued.certificate))  # by a thief, and not entered
    for other in (late, b"other"):
        with pytest.raises(Rejected) as error:
            attested.find(house.reader, digest_of(other), keys)
        assert error.value.code == "time-unattested"
        with pytest.raises(Rejected) as error:
            attested.time_of(proof, digest_of(other), keys)
        assert error.value.code == "time-unattested"
    with pytest.raises(Rejected):
        attested.time_of(export.inclusion(house.reader, 5), digest_of(bundle), keys)
    dated_back = msgspec.structs.replace(proof, entry=(proof.entry or "").replace(str(NOW + 4), str(NOW - 4)))
    with pytest.raises(Refused):
        attested.time_of(dated_back, digest_of(bundle), keys)


def test_a_denial_that_names_a_digest_is_no_signing(house: House):
    house.enter(Note("policy.denied", "x", "ann", {"envelope": digest_of(b"b")}))
    with pytest.raises(Rejected):
        attested.find(house.reader, digest_of(b"b"), house.attestor.verifiers())


def test_a_result_that_a_task_made_has_its_time_too(house: House):
    envelope = digest_of(b"provenance")
    house.enter(Note("artifact.signed", "x", "", {"envelopes": {"provenance": envelope}}))
    house.fill(1)
    assert attested.find(house.reader, envelope, house.attestor.verifiers()) == NOW + 1
