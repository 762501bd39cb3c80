"""VEX: somebody says that a vulnerability does not matter here, in an OpenVEX document.

Rules (source: https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md, v0.2.0):

1. `not_affected` and `fixed` let a finding pass; `affected` and `under_investigation` do not.
2. `not_affected` says why: a `justification` of the specification, or an `impact_statement`.
3. Of statements about the same thing the latest wins; a statement without a time has that of its document.
4. A statement names products by package URL. Without a version it is about every version. Where it names
   subcomponents it is about those, in that product alone.
5. A statement from the future is refused. Whether whoever wrote the document may say so is asked elsewhere.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from packaging.utils import canonicalize_name

from clearance.errors import Refused
from clearance.trust import strict
from clearance.trust.refusal import Rejected
from clearance.trust.scan.advisory import parse_version
from clearance.trust.vex import Component, Document, Product, Statement

_CONTEXT = re.compile(r"https://openvex\.dev/ns(/v0\.2\.\d+)?\Z")
_TOLERANCE = datetime.timedelta(days=1)
_PURL = re.compile(r"pkg:pypi/([^@?#/]+)(?:@([^?#]+))?(?:\?[^#]*)?(?:#.*)?\Z")


class Escape(msgspec.Struct, frozen=True):
    """What the latest statement about a finding says, when it lets the finding pass."""

    author: str
    document: str
    status: str
    reason: str


def read_document(data: bytes, now: datetime.datetime, name: str = "VEX document") -> Document:
    """Reads one document.

    Raises:
        Rejected: `vex-malformed`: another form, no reason, no time, or from the future.
    """
    try:
        found = strict.decode(data, Document, name)
    except Refused as error:
        raise Rejected("vex-malformed", str(error), name) from None
    if not _CONTEXT.match(found.context):
        raise _malformed(name, f"its @context is {found.context!r}: write https://openvex.dev/ns/v0.2.0")
    for each in found.statements:
        what = f"the statement about {each.vulnerability.name}"
        if not each.products:
            raise _malformed(name, f"{what} names no product")
        if each.status == "not_affected" and not (each.justification or each.impact_statement):
            raise _malformed(name, f"{what} says not_affected and not why: add a justification or impact_statement")
        if each.status == "affected" and not each.action_statement:
            raise _malformed(name, f"{what} says affected and not what to do: add an action_statement")
        try:
            moment = _moment(found, each)
        except ValueError as error:
            raise _malformed(name, f"{what} has no time: {error}") from None
        if moment > now + _TOLERANCE:
            raise _malformed(name, f"{what} is from the future: {moment.isoformat()}")
    return found


def escape(
    documents: Iterable[Document], ids: Sequence[str], name: str, version: str, product: str = ""
) -> Escape | None:
    """Returns what lets a finding pass, or None.

    Args:
        documents: read by `read_document`.
        ids: every name of the vulnerability.
        name: of the distribution, normalised.
        version: of it.
        product: whose subcomponents may be meant; the `@id` or package URL of what is scanned.
    """
    last: tuple[datetime.datetime, Document, Statement] | None = None
    for document in documents:
        for each in document.statements:
            names = {each.vulnerability.name, each.vulnerability.id, *each.vulnerability.aliases}
            if names.isdisjoint(ids) or not any(_about(part, name, version, product) for part in each.products):
                continue
            moment = _moment(document, each)
            if last is None or moment >= last[0]:
                last = (moment, document, each)
    if last is None or last[2].status not in ("not_affected", "fixed"):
        return None
    _, document, each = last
    reason = each.impact_statement or each.justification or each.status_notes or each.status
    return Escape(document.author, document.id, each.status, reason)


def _about(found: Product, name: str, version: str, product: str) -> bool:
    if found.subcomponents:
        meant = bool(product) and product in _names(found)
        return meant and any(_is(text, name, version) for part in found.subcomponents for text in _names(part))
    return any(_is(text, name, version) for text in _names(found))


def _names(found: Component) -> Iterator[str]:
    yield found.id
    yield from found.identifiers.values()


def _is(text: str, name: str, version: str) -> bool:
    match = _PURL.match(text)
    if match is None or canonicalize_name(unquote(match[1])) != name:
        return False
    if match[2] is None:
        return True
    said: Any = unquote(match[2])
    one, other = parse_version(said), parse_version(version)
    return said == version if one is None or other is None else one == other


def _moment(document: Document, found: Statement) -> datetime.datetime:
    text = found.last_updated or found.timestamp or document.last_updated or document.timestamp
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def _malformed(name: str, reason: str) -> Rejected:
    return Rejected("vex-malformed", f"{name}: {reason}", name)
