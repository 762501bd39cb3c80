"""Reads the protobuf messages of models (ONNX, SentencePiece) without their libraries: strictly, within a bound.

Source: the wire format of protocol buffers. A field that the format does not have makes the whole something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clearance.trust.ingest.judgement import Unfit

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIELDS = 5_000_000

Value = int | memoryview


def fields(data: memoryview, kinds: Mapping[int, frozenset[int]], what: str) -> Iterator[tuple[int, int, Value]]:
    """Yields number, wire type and value of each field of a message.

    Args:
        data: the message.
        kinds: which wire types each field may have.
        what: its name in messages.

    Raises:
        Unfit: a field that is not among them, or that does not end.
    """
    at, size = 0, len(data)
    for _ in range(_FIELDS):
        if at == size:
            return
        tag, at = _varint(data, at, what)
        number, wire = tag >> 3, tag & 7
        if wire not in kinds.get(number, frozenset()):
            raise Unfit("protobuf", f"{what} has no field {number} of wire type {wire}")
        if wire == VARINT:
            value, at = _varint(data, at, what)
            yield number, wire, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire, -1)
        if length < 0:
            length, at = _varint(data, at, what)
        if length > size - at:
            raise Unfit("protobuf", f"field {number} of {what} is cut off")
        yield number, wire, data[at : at + length]
        at += length
    raise Unfit("protobuf", f"{what} has too many fields")


def _varint(data: memoryview, at: int, what: str) -> tuple[int, int]:
    found = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
    raise Unfit("protobuf", f"{what} is cut off in a number")
