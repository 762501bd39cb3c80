"""Strict JSON for everything that carries trust: a document has one reading, or it is refused.

Rules: UTF-8 without surrogates; no key twice in an object; no NaN; no field that the format does not name; base64 in
its one canonical spelling (RFC 4648 section 4, padded). Two parsers that disagree about a document are an attack.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, TypeVar

import msgspec

from clearance.errors import Refused

T = TypeVar("T")

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
LIMIT = 64 * 1024 * 1024
DEPTH = 64


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Reads a JSON document as a struct.

    Args:
        data: the document.
        kind: a `msgspec.Struct`; it says which fields there may be.
        what: its name in messages.

    Raises:
        Refused: it has another reading than one, or another shape.
    """
    found = parse(data, what)
    try:
        return msgspec.convert(found, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused(f"the {what} is malformed: {error}; ask its signer for a correct one") from None


def parse(data: bytes, what: str) -> Any:
    """Reads a JSON document of any shape.

    Raises:
        Refused: it has another reading than one, or is larger than `LIMIT` bytes or deeper than `DEPTH`.
    """
    if len(data) > LIMIT:
        raise Refused(f"the {what} has {len(data)} bytes, more than {LIMIT}: it is not read")
    try:
        _check_depth(data)
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
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


def _check_depth(data: bytes) -> None:
    """Bounds how deep arrays and objects nest, before anything recurses."""
    if data.count(b"[") + data.count(b"{") <= DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH:
            raise ValueError(f"it nests deeper than {DEPTH}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
