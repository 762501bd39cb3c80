"""The judgement of `trust.ingest` about a model, as findings like those of the other scanners."""

from __future__ import annotations

from clearance.trust.ingest.judgement import REFUSED, Judgement
from clearance.trust.refusal import Rejected
from clearance.trust.scan.finding import Finding, Severity, in_order


def findings(judgement: Judgement) -> tuple[Finding, ...]:
    """Returns the findings; a note does not count, and says so.

    Raises:
        Rejected: `source-none`: the model has no file, so that nothing was judged.
    """
    if not judgement.formats and not judgement.findings:
        raise Rejected(
            "source-none", f"{judgement.subject} holds no file: nothing was judged; name the folder of the model",
            judgement.subject,
        )  # fmt: skip
    return in_order(
        Finding(each.code, Severity.HIGH, each.where, 0, each.text, each.mend)
        if each.severity == REFUSED
        else Finding(each.code, Severity.LOW, each.where, 0, each.text, each.mend, suppressed="a note")
        for each in judgement.findings
    )


def examined(judgement: Judgement) -> int:
    """Returns how many files were judged, those within archives aside."""
    return len({name.partition("!")[0] for name in [*judgement.formats, *(each.where for each in judgement.findings)]})
