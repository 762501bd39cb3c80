"""VEX as evidence: somebody entitled says that a vulnerability does not matter in an artifact (OpenVEX v0.2.0).

Source: https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md. `not_affected` and `fixed` excuse a finding, the
former only with a justification or an impact statement. Of statements about the same thing the latest wins. A statement
that names package URLs is about those packages alone; the artifact is the statement's subject.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import unquote

import msgspec

VEX = "https://openvex.dev/ns/v0.2.0"
Justification = Literal[
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
]
_PURL = re.compile(r"pkg:pypi/([^@?#/]+)(?:@([^?#]+))?(?:\?[^#]*)?(?:#.*)?\Z")


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"id": "@id"}):
    """A product or a part of one; `id` is its package URL."""

    id: str = ""
    identifiers: dict[str, str] = {}
    hashes: dict[str, str] = {}


class Product(Component, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"id": "@id"}):
    """A product, and the parts of it that are meant."""

    subcomponents: tuple[Component, ...] = ()


class Vulnerability(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"id": "@id"}):
    """Which vulnerability, by any of its names."""

    name: str
    id: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"id": "@id"}):
    """One statement about a vulnerability; times in RFC 3339."""

    vulnerability: Vulnerability
    status: Literal["not_affected", "affected", "fixed", "under_investigation"]
    products: tuple[Product, ...] = ()
    id: str = ""
    version: int = 0
    timestamp: str = ""
    last_updated: str = ""
    supplier: str = ""
    status_notes: str = ""
    justification: Justification | None = None
    impact_statement: str = ""
    action_statement: str = ""
    action_statement_timestamp: str = ""


class Document(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"id": "@id", "context": "@context"},
):
    """Statements by one author; times in RFC 3339."""

    context: str
    id: str
    author: str
    timestamp: str
    version: int
    statements: tuple[Statement, ...]
    role: str = ""
    last_updated: str = ""
    tooling: str = ""


def excuses(documents: Iterable[Document], ids: Iterable[str], package: str, now: datetime.datetime) -> bool:
    """Returns whether the latest statement about a finding says that it does not matter.

    Args:
        documents: by authors who may say so, about the artifact that has the finding.
        ids: every name of the vulnerability.
        package: `name==version` where it was found; empty when that is not known.
        now: statements from later count for nothing.
    """
    wanted = frozenset(ids)
    last: tuple[datetime.datetime, bool] | None = None
    for document in documents:
        for said in document.statements:
            names = {said.vulnerability.name, said.vulnerability.id, *said.vulnerability.aliases}
            moment = moment_of(said.last_updated or said.timestamp or document.last_updated or document.timestamp, now)
            if moment is None or wanted.isdisjoint(names) or not _is_about(said, package):
                continue
            excused = said.status == "fixed" or (
                said.status == "not_affected" and bool(said.justification or said.impact_statement)
            )
            if last is None or (moment, not excused) >= (last[0], not last[1]):
                last = (moment, excused)
    return last is not None and last[1]


def moment_of(text: str, now: datetime.datetime) -> datetime.datetime | None:
    """Returns an RFC 3339 time; None when it is none, has no zone, or is over a day ahead of `now`."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or moment > now + datetime.timedelta(days=1):
        return None
    return moment


def _is_about(said: Statement, package: str) -> bool:
    named = [
        text
        for product in said.products
        for part in product.subcomponents or (product,)
        for text in (part.id, *part.identifiers.values())
        if text.startswith("pkg:")
    ]
    return not named or any(_is(text, package) for text in named)


def _is(url: str, package: str) -> bool:
    match = _PURL.match(url)
    name, _, version = package.partition("==")
    if match is None or not name or _normal(unquote(match[1])) != _normal(name):
        return False
    return match[2] is None or unquote(match[2]) == version


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
