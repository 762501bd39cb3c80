"""Reads a policy in Cedar: parsed once, and refused unless each rule can be trusted to mean what it says.

Cedar skips a rule that errs, a `forbid` too. So, at load:

1. The policy is validated against the schema, strictly: a field that does not exist, or evidence that may be absent and
   is not asked for by `has`, refuses the policy.
2. Every rule has an `@id`, each once; a `forbid` has a `@reason` and a `@mend` besides. `@needs("provenance, tests")`
   names the evidence that it looks at. An annotation that is not known, perhaps misspelt, refuses the policy.
3. `@level("warn")` makes a `forbid` a warning.
4. No templates; at least one `permit`, since without one Cedar denies everything.

What can still err (integers that overflow) is a denial: see `decide`. Source: https://docs.cedarpolicy.com.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from clearance.errors import MissingExtra, UsageError, nearest
from clearance.trust.policy.facts import KINDS
from clearance.types.digest import Digest, digest_of

if TYPE_CHECKING:
    import cedarpy

BUNDLES = ("dev", "team", "production")
ACTIONS = ("use", "ingest", "register", "promote", "serve")
NEEDS = ("signatures", *KINDS)
_ANNOTATIONS = ("id", "reason", "mend", "needs", "level")
_LIMIT = 1 << 20


class Rule(msgspec.Struct, frozen=True):
    """One rule.

    Attributes:
        id: its `@id`.
        effect: `permit` or `forbid`.
        reason: what is wrong when it forbids.
        mend: what to do.
        needs: names of the evidence that it looks at.
        warns: it warns and does not deny.
    """

    id: str
    effect: str
    reason: str = ""
    mend: str = ""
    needs: tuple[str, ...] = ()
    warns: bool = False


class Policy:
    """A policy that was read.

    Attributes:
        name: of the bundle or file.
        digest: of its text and of the schema.
        rules: in the order of the text.
        by_place: rules by the id that Cedar gave each.
        parsed: for Cedar.
        without_warnings: the same without the rules that warn.
    """

    def __init__(
        self,
        name: str,
        digest: Digest,
        by_place: dict[str, Rule],
        parsed: cedarpy.PolicySet,
        without_warnings: cedarpy.PolicySet,
    ) -> None:
        self.name = name
        self.digest = digest
        self.by_place = by_place
        self.rules = tuple(by_place.values())
        self.parsed = parsed
        self.without_warnings = without_warnings


def load(named: str) -> Policy:
    """Reads a ready-made bundle by its name, or a file.

    Raises:
        UsageError: there is none, or it is refused.
        MissingExtra: Cedar is not installed.
    """
    return parse(text_of(named), named)


def text_of(named: str) -> str:
    """Returns the text of a bundle or file.

    Raises:
        UsageError: there is none.
    """
    if named in BUNDLES:
        return _data(f"bundles/{named}.cedar")
    file = Path(named)
    try:
        if file.stat().st_size > _LIMIT:
            raise UsageError(f"the policy {named} has more than {_LIMIT} bytes: it is not read")
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        known = ", ".join(BUNDLES)
        raise UsageError(f"policy {named!r}: {why}{nearest(named, BUNDLES)}; use {known} or a file of rules") from None


def schema_text() -> str:
    """Returns the schema that policies are validated against."""
    return _data("schema.cedarschema")


def parse(text: str, name: str) -> Policy:
    """Reads the text of a policy.

    Raises:
        UsageError: it is refused: says which rule, and why.
        MissingExtra: Cedar is not installed.
    """
    cedar = cedar_module()
    schema = schema_text()
    checked = cedar.validate_policies(text, schema)
    try:
        parsed = cedar.PolicySet.from_str(text)
        tree = parsed.to_pst()
    except ValueError as error:
        raise UsageError(f"policy {name}: {_first(str(error))}") from None
    if tree.templates or tree.template_links:
        raise UsageError(f"policy {name}: it has a template (?principal or ?resource): write each rule out")
    ordered = sorted(tree.static_policies.items(), key=lambda item: int(item[0].removeprefix("policy")))
    by_place = {place: _rule(each, name, place) for place, each in ordered}
    _check_whole(by_place, name)
    if not checked.validation_passed:
        first = checked.errors[0]
        rule = by_place.get(first.policy_id)
        at = f"rule {rule.id!r}: " if rule else ""
        said = _first(first.error).removeprefix(f"for policy `{first.policy_id}`, ")
        raise UsageError(f"policy {name}: {at}{said}")
    digest = digest_of(f"{schema}\0{text}".encode())
    kept = {place: each for place, each in tree.static_policies.items() if not by_place[place].warns}
    strict = parsed
    if len(kept) < len(by_place):
        strict = cedar.PolicySet.from_pst(
            type(tree)(templates={}, static_policies=type(tree.static_policies)(kept), template_links=())
        )
    return Policy(name, digest, by_place, parsed, strict)


def cedar_module() -> Any:
    """Returns `cedarpy`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import cedarpy
    except ImportError:
        raise MissingExtra("Cedar, in which policies are written,", "trust") from None
    return cedarpy


def _rule(found: Any, name: str, place: str) -> Rule:
    said = dict(found.annotations)
    id = said.get("id", "")
    if not id:
        number = int(place.removeprefix("policy")) + 1
        raise UsageError(f'policy {name}: its rule number {number} has no name: write @id("…") above it')
    where = f"policy {name}: rule {id!r}"
    for each in said:
        if each not in _ANNOTATIONS:
            known = ", ".join(_ANNOTATIONS)
            raise UsageError(f"{where}: the annotation @{each} is not known{nearest(each, _ANNOTATIONS)}: use {known}")
    level = said.get("level", "deny")
    if level not in ("deny", "warn"):
        raise UsageError(f'{where}: @level("{level}") is none: use warn or deny')
    if found.effect == "permit":
        if set(said) != {"id"}:
            raise UsageError(f"{where}: a permit has an @id alone; what refuses is a forbid")
        return Rule(id, "permit")
    for each in ("reason", "mend"):
        if not said.get(each):
            raise UsageError(f'{where}: a forbid says what is wrong and what to do: add @{each}("…")')
    needs = tuple(each.strip() for each in said.get("needs", "").split(",") if each.strip())
    for each in needs:
        if each not in NEEDS:
            raise UsageError(f"{where}: @needs names {each!r}{nearest(each, NEEDS)}: use {', '.join(NEEDS)}")
    return Rule(id, "forbid", said["reason"], said["mend"], needs, level == "warn")


def _check_whole(by_place: dict[str, Rule], name: str) -> None:
    ids = [rule.id for rule in by_place.values()]
    for id in ids:
        if ids.count(id) > 1:
            raise UsageError(f"policy {name}: two rules are called {id!r}: give each a name of its own")
    if not any(rule.effect == "permit" for rule in by_place.values()):
        raise UsageError(
            f'policy {name}: no rule permits anything: begin with @id("anybody") permit (principal, action, resource);'
        )


def _first(text: str) -> str:
    return " ".join(text.split())[:400]


def _data(path: str) -> str:
    return importlib.resources.files("clearance.trust.policy").joinpath(path).read_text("utf-8")
