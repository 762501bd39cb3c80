"""Strict JSON for everything that carries trust: a document has one reading, or it is refused.

Rules: UTF-8 without surrogates; no key twice in an object; no NaN; no field that the format does not name; base64 in
its one canonical spelling (RFC 4648 section 4, padded). Two parsers that disagree about a document are an attack.
"""

from __future__ import annotations

import binascii
import json
from typing import Any, TypeVar

import msgspec

from clearance.errors import Refused

T = TypeVar("T")


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Reads a JSON document as a struct.

    Args:
        data: the document.
        kind: a `msgspec.Struct`; it says which fields there may be.
        what: its name in messages.

    Raises:
        Refused: it has another reading than one, or another shape.
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
        return msgspec.convert(found, kind)
    except (ValueError, RecursionError) as error:  # a msgspec.ValidationError is a ValueError too
        raise Refused(f"the {what} is malformed: {error}; ask its signer for a correct one") from None


def decode_base64(text: str, what: str) -> bytes:
    """Returns the bytes of canonical base64.

    Raises:
        Refused: other characters, missing padding, or stray bits at the end.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (ValueError, binascii.Error) as error:
        raise Refused(f"the {what} is not base64: {error}; ask its signer for a correct one") from None
    if encode_base64(data) != text:
        raise Refused(f"the {what} is not canonical base64; ask its signer for a correct one")
    return data


def encode_base64(data: bytes) -> str:
    """Returns canonical base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
