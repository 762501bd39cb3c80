"""The base score of a CVSS v3.x vector, from 0 to 10, and the words for it.

Source: https://www.first.org/cvss/v3.1/specification-document sections 5, 7.1, 7.4 and appendix A (Roundup).
Temporal and environmental metrics may stand in a vector; they do not change the base score.
"""

from __future__ import annotations

from clearance.trust.scan.finding import Severity

_CIA = {"H": 0.56, "L": 0.22, "N": 0.0}
_METRICS = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": _CIA,
    "I": _CIA,
    "A": _CIA,
}
_CHANGED_PRIVILEGES = {"N": 0.85, "L": 0.68, "H": 0.5}


def base_score(vector: str) -> float | None:
    """Returns the base score, one decimal; None where the text is no whole vector of version 3.0 or 3.1."""
    prefix, *parts = vector.split("/")
    if prefix not in ("CVSS:3.0", "CVSS:3.1"):
        return None
    found: dict[str, str] = {}
    for part in parts:
        name, colon, value = part.partition(":")
        if not colon or not value or name in found:
            return None
        found[name] = value
    if any(found.get(name) not in values for name, values in _METRICS.items()):
        return None
    weight = {name: values[found[name]] for name, values in _METRICS.items()}
    changed = found["S"] == "C"
    if changed:
        weight["PR"] = _CHANGED_PRIVILEGES[found["PR"]]
    loss = 1 - (1 - weight["C"]) * (1 - weight["I"]) * (1 - weight["A"])
    impact = 7.52 * (loss - 0.029) - 3.25 * (loss - 0.02) ** 15 if changed else 6.42 * loss
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * weight["PR"] * weight["UI"]
    return _round_up(min((1.08 if changed else 1.0) * (impact + exploitability), 10))


def severity_of(score: float) -> Severity:
    """Returns the word for a score; 0, which the specification calls none, counts as low."""
    if score >= 9:
        return Severity.CRITICAL
    if score >= 7:
        return Severity.HIGH
    return Severity.MEDIUM if score >= 4 else Severity.LOW


def _round_up(value: float) -> float:
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
