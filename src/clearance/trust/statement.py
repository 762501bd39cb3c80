"""in-toto Statement v1: a predicate about subjects, which are known by digest.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Subjects are matched by digest alone,
never by name.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from clearance.errors import Refused
from clearance.trust import strict
from clearance.types.digest import Digest, hex_of

TYPE = "https://in-toto.io/Statement/v1"

P = TypeVar("P")

_HEX = re.compile(r"[0-9a-f]+\Z")


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the statement is about; `digest` maps an algorithm to hexadecimal digits."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"type": "_type"}):
    """A predicate of some type about subjects."""

    subject: tuple[Subject, ...]
    predicateType: str
    predicate: Any
    type: str = TYPE


_encoder = msgspec.json.Encoder()


def encode(subject: tuple[Subject, ...], predicate_type: str, predicate: Any) -> bytes:
    """Returns the statement as JSON."""
    return _encoder.encode(Statement(subject, predicate_type, predicate))


def decode(data: bytes, predicate_type: str, predicate: type[P]) -> tuple[tuple[Subject, ...], P]:
    """Reads a statement whose predicate must be of one type.

    Returns:
        The subjects and the predicate.

    Raises:
        Refused: malformed, a key that stands twice, or a statement or predicate of another type.
    """
    found = strict.decode(data, Statement, "statement")
    if found.type != TYPE:
        raise Refused(f"the statement is a {found.type!r} and {TYPE!r} is expected")
    if found.predicateType != predicate_type:
        raise Refused(f"the statement's predicate is {found.predicateType!r} and {predicate_type!r} is expected")
    if not found.subject:
        raise Refused("the statement names no subject")
    for subject in found.subject:
        if not subject.digest or not all(map(_HEX.match, subject.digest.values())):
            raise Refused(f"the statement's subject {subject.name!r} has no digest in hexadecimal digits")
    try:
        return found.subject, msgspec.convert(found.predicate, predicate)
    except msgspec.ValidationError as error:
        raise Refused(f"the statement's predicate is malformed: {error}") from None


def require_subject(subjects: tuple[Subject, ...], digest: Digest) -> None:
    """Checks that the statement is about these bytes.

    Raises:
        Refused: it is about others.
    """
    if not any(subject.digest.get("sha256") == hex_of(digest) for subject in subjects):
        names = ", ".join(subject.name for subject in subjects)
        raise Refused(f"the statement is about {names}, not about {digest}: attach the one that belongs to it")
