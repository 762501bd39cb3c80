"""Findings that somebody has looked at and accepts, with the reason: a TOML file beside the source.

```toml
[[accept]]
rule = "pickle-load"
file = "src/legacy.py"
line = 12
reason = "reads a file that this pipeline has written itself"
```

Rules: an entry names one rule in one file (and one line, if it says so) and gives a reason; one that matches nothing is
itself a finding, so that the list does not outlive its reasons. Files are named relative to what is scanned.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from clearance.trust.refusal import Rejected
from clearance.trust.scan.finding import Finding, Severity, in_order

MOST_BYTES = 2**20


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry."""

    rule: str
    file: str
    reason: str
    line: int = 0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accept: tuple[Accept, ...]


def read_accepted(path: Path) -> tuple[Accept, ...]:
    """Reads the entries.

    Raises:
        Rejected: `accept-malformed`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        found = msgspec.convert(tomllib.loads(data.decode()), _File).accept
        for each in found:
            if not (each.rule.strip() and each.file.strip() and each.reason.strip()):
                raise ValueError("an entry needs a rule, a file and a reason")
    except (OSError, ValueError, RecursionError) as error:
        raise Rejected("accept-malformed", f"{path}: {error}", str(path)) from None
    return found


def apply(findings: Iterable[Finding], accepted: Sequence[Accept], root: str, where: str) -> tuple[Finding, ...]:
    """Returns the findings, of which those that are accepted do not count.

    Args:
        findings: of a scan.
        accepted: entries.
        root: what was scanned, as it begins the places of findings.
        where: the file of the entries, for those that match nothing.
    """
    result: list[Finding] = []
    used: set[Accept] = set()
    for finding in findings:
        names = {finding.where, finding.where.removeprefix(root).lstrip("/!")}
        match = next(
            (
                each
                for each in accepted
                if each.rule == finding.rule and each.file in names and each.line in (0, finding.line)
            ),
            None,
        )
        if match is not None:
            used.add(match)
            finding = msgspec.structs.replace(finding, suppressed=f"accepted in {where}: {match.reason}")
        result.append(finding)
    for each in accepted:
        if each not in used:
            place = f"{each.file}:{each.line}" if each.line else each.file
            text = f"nothing breaks {each.rule} in {place} any more"
            result.append(Finding("accept-unused", Severity.LOW, where, 0, text, "take the entry out"))
    return in_order(result)
