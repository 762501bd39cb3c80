"""ONNX models: which files beside them they read, and whether they carry code of their own.

Source: onnx.proto3 of the ONNX project (field numbers), and its rules for external data. Weights that lie in the model
are not looked at.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from clearance.trust.ingest import protobuf
from clearance.trust.ingest.judgement import Unfit
from clearance.trust.ingest.protobuf import BYTES, FIXED32, FIXED64, VARINT

_DEEP = 32


def _kinds(texts: str = "", numbers: str = "", floats: str = "", doubles: str = "") -> Mapping[int, frozenset[int]]:
    """Returns the fields of a message by number: messages and texts, integers, floats and doubles (packed or not)."""
    found: dict[int, frozenset[int]] = {}
    for text, kinds in (
        (texts, {BYTES}), (numbers, {VARINT, BYTES}), (floats, {FIXED32, BYTES}), (doubles, {FIXED64, BYTES}),
    ):  # fmt: skip
        for number in text.split():
            found[int(number)] = frozenset(kinds)
    return found


_MODEL = _kinds("2 3 4 6 7 8 14 20 25 26", "1 5")
_GRAPH = _kinds("1 2 5 10 11 12 13 14 15 16")
_NODE = _kinds("1 2 3 4 5 6 7 8 9 10")
_ATTRIBUTE = _kinds("1 4 5 6 9 10 11 13 14 15 21 22 23", "3 8 20", "2 7")
_TENSOR = _kinds("3 6 8 9 12 13 16", "1 2 5 7 11 14", "4", "10")
_FUNCTION = _kinds("1 4 5 6 7 8 9 10 11 12 13 14", "2 3")
_SPARSE = _kinds("1 2", "3")
_ENTRY = _kinds("1 2")
_OPSET = _kinds("1", "2")
_CODE = ("ai.onnx.contrib", "com.microsoft.extensions")  # operators that run Python, of onnxruntime-extensions
_SAID = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft"})


def looks_like(data: memoryview) -> bool:
    """Returns whether bytes are a ModelProto with a graph."""
    try:
        found = {number for number, _, _ in protobuf.fields(data, _MODEL, "an ONNX model")}
    except Unfit:
        return False
    return {1, 7} <= found


def read(data: memoryview) -> tuple[list[str], list[str]]:
    """Reads a model.

    Returns:
        The paths of the files beside it that it reads, and the operator domains that are not ONNX's.

    Raises:
        Unfit: it is malformed, reads a file elsewhere, or has operators that run code.
    """
    paths: dict[str, None] = {}
    domains: dict[str, None] = {}
    for kind, value in _walk(data):
        if kind == "domain":
            if value.startswith(_CODE):
                raise Unfit("onnx-code", f"its operators of {value!r} run code", "export it without such operators")
            if value not in _SAID:
                domains[value] = None
            continue
        plain = posixpath.normpath(value)
        if not value or "\\" in value or "\0" in value or ":" in value or plain.startswith(("/", "..")):
            raise Unfit("onnx-external", f"it reads {value!r}, outside its folder", "keep its data beside it")
        paths[plain] = None
    return list(paths), list(domains)


def _walk(data: memoryview) -> Iterator[tuple[str, str]]:
    """Yields `domain` with each operator's domain, and `path` with each file that a tensor lies in."""
    for number, _, value in protobuf.fields(data, _MODEL, "an ONNX model"):
        if number == 7:
            yield from _graph(_bytes(value), 0)
        elif number == 8:
            for inner, _, part in protobuf.fields(_bytes(value), _OPSET, "an operator set"):
                if inner == 1:
                    yield "domain", _text(part)
        elif number == 20:
            for inner, _, part in protobuf.fields(_bytes(value), _kinds("1 2 3 4"), "training information"):
                if inner in (1, 2):
                    yield from _graph(_bytes(part), 0)
        elif number == 25:
            yield from _function(_bytes(value))


def _graph(data: memoryview, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEP:
        raise Unfit("onnx", "its graphs are nested too deeply")
    for number, _, value in protobuf.fields(data, _GRAPH, "a graph"):
        if number == 1:
            yield from _node(_bytes(value), depth)
        elif number == 5:
            yield from _tensor(_bytes(value))
        elif number == 15:
            yield from _sparse(_bytes(value))


def _function(data: memoryview) -> Iterator[tuple[str, str]]:
    for number, _, value in protobuf.fields(data, _FUNCTION, "a function"):
        if number == 7:
            yield from _node(_bytes(value), 0)
        elif number == 11:
            yield from _attribute(_bytes(value), 0)


def _node(data: memoryview, depth: int) -> Iterator[tuple[str, str]]:
    for number, _, value in protobuf.fields(data, _NODE, "an operator"):
        if number == 5:
            yield from _attribute(_bytes(value), depth)
        elif number == 7:
            yield "domain", _text(value)


def _attribute(data: memoryview, depth: int) -> Iterator[tuple[str, str]]:
    for number, _, value in protobuf.fields(data, _ATTRIBUTE, "an attribute"):
        if number in (5, 10):
            yield from _tensor(_bytes(value))
        elif number in (6, 11):
            yield from _graph(_bytes(value), depth + 1)
        elif number in (22, 23):
            yield from _sparse(_bytes(value))


def _sparse(data: memoryview) -> Iterator[tuple[str, str]]:
    for number, _, value in protobuf.fields(data, _SPARSE, "a sparse tensor"):
        if number in (1, 2):
            yield from _tensor(_bytes(value))


def _tensor(data: memoryview) -> Iterator[tuple[str, str]]:
    for number, _, value in protobuf.fields(data, _TENSOR, "a tensor"):
        if number == 13:
            entry = {inner: _text(part) for inner, _, part in protobuf.fields(_bytes(value), _ENTRY, "an entry")}
            if entry.get(1) == "location":
                yield "path", entry.get(2, "")


def _bytes(value: protobuf.Value) -> memoryview:
    if isinstance(value, int):
        raise Unfit("onnx", "a number stands where a message should")
    return value


def _text(value: protobuf.Value) -> str:
    try:
        return bytes(_bytes(value)).decode("utf-8")
    except UnicodeDecodeError:
        raise Unfit("onnx", "a name is no UTF-8") from None


def sentencepiece(data: memoryview) -> bool:
    """Returns whether bytes are a SentencePiece model: pieces with scores, and what it was trained with."""
    kinds = {1: frozenset({BYTES}), **{number: frozenset({BYTES}) for number in range(2, 6)}}
    piece = {1: frozenset({BYTES}), 2: frozenset({FIXED32}), 3: frozenset({VARINT})}
    pieces = 0
    try:
        for number, _, value in protobuf.fields(data, kinds, "a SentencePiece model"):
            if number == 1:
                pieces += 1
                if 1 not in {inner for inner, _, _ in protobuf.fields(_bytes(value), piece, "a piece")}:
                    return False
    except Unfit:
        return False
    return pieces > 0
