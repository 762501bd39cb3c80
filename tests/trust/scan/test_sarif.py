"""SARIF: the members that OASIS's schema of 2.1.0 has, and no others."""

from __future__ import annotations

import json
import string
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.scan import sarif
from clearance.trust.scan.finding import Finding, Report, Severity, Source

TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
BAG = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}}}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def each(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


TEXT = closed(["text"], text={"type": "string"})
LEVEL = {"enum": ["none", "note", "warning", "error"]}
WORD = {"type": "string"}
RULE = closed(
    ["id"], id={"type": "string"}, shortDescription=TEXT, help=TEXT, properties=BAG,
    defaultConfiguration=closed([], level=LEVEL),
)  # fmt: skip
LOCATION = closed(
    [],
    physicalLocation=closed(
        [], artifactLocation=closed([], uri={"type": "string", "pattern": r"^[!-~]*$"}),
        region=closed([], startLine={"type": "integer", "minimum": 1}),
    ),
)  # fmt: skip
RESULT = closed(
    ["message"], ruleId={"type": "string"}, ruleIndex={"type": "integer", "minimum": 0}, level=LEVEL, message=TEXT,
    locations=each(LOCATION), partialFingerprints={"type": "object", "additionalProperties": {"type": "string"}},
    suppressions=each(closed(["kind"], kind={"enum": ["inSource", "external"]}, justification={"type": "string"},
                             status={"enum": ["accepted", "underReview", "rejected"]})),
    properties=BAG,
)  # fmt: skip
RUN = closed(
    ["tool"], results=each(RESULT), properties=BAG, columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    tool=closed(["driver"], driver=closed(["name"], name=WORD, version=WORD, rules=each(RULE))),
    invocations=each(closed(["executionSuccessful"], executionSuccessful={"type": "boolean"}, startTimeUtc=TIME,
                            endTimeUtc=TIME)),
)  # fmt: skip
# Of https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json what is written here.
SCHEMA = closed(["version", "runs"], version={"const": "2.1.0"}, runs=each(RUN), **{"$schema": {"type": "string"}})

FINDINGS = st.builds(
    Finding, rule=st.sampled_from(["CVE-1", "eval"]), severity=st.sampled_from(Severity), where=st.text(min_size=1),
    line=st.integers(0, 9), text=st.text(), mend=st.text(), subject=st.text(max_size=3),
    properties=st.dictionaries(st.text(string.ascii_lowercase, max_size=3), st.text(max_size=3), max_size=2),
    suppressed=st.sampled_from(["", "somebody says so"]),
)  # fmt: skip


def log(*findings: Finding) -> Any:
    source = Source("sha256:ab", "2026-01-01T00:00:00+00:00", 3, "osv.zip")
    time = "2026-01-01T00:00:00Z"
    return json.loads(sarif.encode([Report("code", "1.0", "x", 2, findings, time, time, source)]))


@given(st.lists(FINDINGS, max_size=4))
def test_every_report_has_the_form_of_the_standard(findings: list[Finding]):
    written = log(*findings)
    jsonschema.validate(written, SCHEMA)
    (run,) = written["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [each.rule for each in findings]
    assert [bool(result.get("suppressions")) for result in run["results"]] == [
        bool(each.suppressed) for each in findings
    ]


def test_places_levels_and_fingerprints():
    first = Finding("eval", Severity.HIGH, "a b/ä.py", 3, "t", "m")
    moved = Finding("eval", Severity.LOW, "a b/ä.py", 4, "t", "m")
    (run,) = log(first, moved, Finding("eval", Severity.UNKNOWN, "/x.py", 0, "u", "m"))["runs"]
    one, two, three = run["results"]
    assert one["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b/%C3%A4.py"}, "region": {"startLine": 3},
    }  # fmt: skip
    assert three["locations"][0]["physicalLocation"] == {"artifactLocation": {"uri": "file:///x.py"}}
    assert [each["level"] for each in run["results"]] == ["error", "note", "error"]
    assert one["partialFingerprints"] == two["partialFingerprints"] != three["partialFingerprints"]


def test_the_database_that_was_asked_is_named():
    (run,) = log()["runs"]
    assert run["results"] == []
    assert run["properties"]["database"]["digest"] == "sha256:ab"
