"""Whether a licence is allowed: SPDX expressions against a list of what is allowed and what is denied.

Rules:

1. `A OR B` is allowed if one of them is; `A AND B` if both are. An exception (`WITH`) only adds rights: `A WITH B` is
   allowed where `A` or `A WITH B` is.
2. What is unknown (no licence, a name that SPDX does not have) is not allowed. A `LicenseRef-…` is allowed by name.
3. Denied wins over allowed.

Source: https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from clearance.trust.scan.finding import Finding, Severity, in_order
from clearance.trust.scan.hub import CONDITIONS, HUB

LONGEST = 2000
PERMISSIVE = frozenset(
    {
        "0BSD", "AFL-3.0", "Apache-2.0", "Artistic-2.0", "BlueOak-1.0.0", "BSD-1-Clause", "BSD-2-Clause",
        "BSD-2-Clause-Patent", "BSD-3-Clause", "BSD-3-Clause-Clear", "BSD-3-Clause-LBNL", "BSL-1.0", "CC0-1.0",
        "CC-BY-3.0", "CC-BY-4.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CNRI-Python", "ECL-2.0", "HPND",
        "ISC", "libpng-2.0", "MIT", "MIT-0", "MIT-CMU", "MS-PL", "NCSA", "ODC-By-1.0", "OFL-1.1", "PDDL-1.0",
        "PostgreSQL", "PSF-2.0", "Python-2.0", "Python-2.0.1", "Unicode-3.0", "Unicode-DFS-2016", "Unlicense",
        "UPL-1.0", "W3C", "WTFPL", "X11", "ZPL-2.1", "Zlib", "LicenseRef-OSI-BSD",
    }
)  # fmt: skip


class Policy(msgspec.Struct, frozen=True):
    """Which licences are allowed.

    Attributes:
        allow: SPDX ids, `A WITH B`, or `LicenseRef-…`.
        deny: the same; each wins over `allow`.
    """

    allow: frozenset[str] = PERMISSIVE
    deny: frozenset[str] = frozenset()


class Declared(msgspec.Struct, frozen=True):
    """What something says of its licence.

    Attributes:
        name: of a distribution or model.
        version: of it, or empty.
        where: the file that says it.
        line: in it, or 0.
        expression: SPDX; empty where none is said, or what is said is not understood.
        said: the words, where they are not understood.
    """

    name: str
    version: str
    where: str
    line: int
    expression: str
    said: str = ""


class Judged(msgspec.Struct, frozen=True):
    """What a policy says of a licence.

    Attributes:
        name: of a distribution or model.
        version: of it, or empty.
        expression: normalised; empty where it is unknown.
        allowed: whether the policy allows it.
        conditions: what it asks that a permissive licence does not.
        finding: why it is not allowed.
    """

    name: str
    version: str
    expression: str
    allowed: bool
    conditions: tuple[str, ...] = ()
    finding: Finding | None = None


def make_policy(allow: Iterable[str], deny: Iterable[str], permissive: bool = True) -> Policy:
    """Returns a policy.

    Args:
        allow: ids of SPDX or of hubs, besides the permissive ones.
        deny: the same.
        permissive: whether the permissive ones are allowed at all.

    Raises:
        UsageError: one of them is no licence.
    """
    base = PERMISSIVE if permissive else frozenset()
    return Policy(base | {_entry(each) for each in allow}, frozenset(_entry(each) for each in deny))


def judge(declared: Declared, policy: Policy) -> Judged:
    """Judges one licence."""
    parsed, unknown = parse(declared.expression)
    what = f"{declared.name} {declared.version}".strip()
    if parsed is None:
        said = declared.said or declared.expression
        return _against(
            declared, "", "licence-unknown", Severity.MEDIUM,
            f"{what} says {_short(said)!r} of its licence, unknown to SPDX" if said else f"{what} names no licence",
            "ask its makers; where you know it, allow it by name with --allow, or do without it",
        )  # fmt: skip
    text = parsed.render()
    conditions = tuple(dict.fromkeys(each for id in _ids(parsed) for each in CONDITIONS.get(id, ())))
    denied, missing = _weigh(parsed, policy)
    if unknown and missing:
        return _against(
            declared, text, "licence-unknown", Severity.MEDIUM,
            f"{what} is under {text}, and {', '.join(unknown)} is not known to SPDX",
            f"ask its makers; where you know it, allow it by name: --allow {unknown[0]}", conditions,
        )  # fmt: skip
    if denied:
        return _against(
            declared, text, "licence-denied", Severity.HIGH,
            f"{what} is under {text}, and {', '.join(denied)} is denied", "do without it", conditions,
        )  # fmt: skip
    if missing:
        asks = f" ({'; '.join(conditions)})" if conditions else ""
        return _against(
            declared, text, "licence-not-allowed", Severity.MEDIUM,
            f"{what} is under {text}{asks}, and {', '.join(missing)} is not allowed",
            f"do without it, or allow it: --allow {missing[0]!r}", conditions,
        )  # fmt: skip
    return Judged(declared.name, declared.version, text, True, conditions)


def findings(judged: Iterable[Judged]) -> tuple[Finding, ...]:
    """Returns why things are not allowed."""
    return in_order(each.finding for each in judged if each.finding is not None)


def parse(expression: str) -> tuple[Any, list[str]]:
    """Returns the tree of an expression, or None, and the ids in it that SPDX does not know."""
    if not expression.strip() or len(expression) > LONGEST:
        return None, []
    licensing = _licensing()
    try:
        tree = licensing.parse(expression, strict=True)
        unknown = [id for id in _ids(tree) if not _known(id)]
    except (Exception, RecursionError):  # boolean.py raises several unrelated types for text that is no expression
        return None, []
    return (None, []) if unknown and len(unknown) == len(_ids(tree)) else (tree, unknown)


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

    return get_spdx_licensing()


def _ids(tree: Any) -> list[str]:
    return list(dict.fromkeys(symbol.key for leaf in tree.get_literals() for symbol in leaf.decompose()))


def _known(id: str) -> bool:
    if id.startswith(("LicenseRef-", "DocumentRef-")):
        return True
    return id.removesuffix("+") in _licensing().known_symbols


def _weigh(tree: Any, policy: Policy) -> tuple[list[str], list[str]]:
    """Returns what of a tree is denied and what is not allowed; both empty where it is allowed."""
    licensing = _licensing()
    if isinstance(tree, licensing.OR):
        each = [_weigh(part, policy) for part in tree.args]
        if any(not denied and not missing for denied, missing in each):
            return [], []
        return min(each, key=lambda found: (len(found[0]), len(found[1])))
    if isinstance(tree, licensing.AND):
        each = [_weigh(part, policy) for part in tree.args]
        return [id for denied, _ in each for id in denied], [id for _, missing in each for id in missing]
    whole = tree.render()
    names = {whole, next(iter(tree.decompose())).key.removesuffix("+")}
    if names & policy.deny:
        return [whole], []
    return ([], []) if names & policy.allow else ([], [whole])


def _entry(text: str) -> str:
    from clearance.errors import UsageError, nearest

    if text.lower() in HUB:
        return HUB[text.lower()].spdx
    tree, unknown = parse(text)
    if tree is None or unknown or tree.args:
        near = nearest(text, [*_licensing().known_symbols, *HUB])
        raise UsageError(f"{text!r} is no licence{near}: use an id of SPDX or of a hub, A WITH B, or LicenseRef-NAME")
    return str(tree.render())


def _against(
    declared: Declared, expression: str, rule: str, severity: Severity, text: str, mend: str,
    conditions: tuple[str, ...] = (),
) -> Judged:  # fmt: skip
    subject = f"{declared.name}=={declared.version}" if declared.version else declared.name
    properties = {"licence": expression or "NOASSERTION", "conditions": "; ".join(conditions)}
    found = Finding(rule, severity, declared.where, declared.line, text, mend, subject, properties)
    return Judged(declared.name, declared.version, expression, False, conditions, found)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "…"
