"""Strict readers of weights that hold nothing but numbers: safetensors, npy, GGUF. They read headers alone.

Sources: safetensors' format description (8 bytes of length, a JSON header, no holes); NumPy's NEP 1 (npy 1.0 to 3.0);
the GGUF specification of ggml, versions 2 and 3.
"""

from __future__ import annotations

import ast
import json
import re
import struct
from typing import Any, BinaryIO

from clearance.trust.ingest.judgement import Limits, Unfit

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]{1,1024}")
_NPY = b"\x93NUMPY"
_NUMBERS = re.compile(r"[<>|=]?(?P<kind>[?biufcmMSUV])(?P<size>\d{0,9})(\[\w+\])?")
_RANKS = 64


def safetensors(file: BinaryIO, limits: Limits) -> dict[str, str]:
    """Reads the header of a safetensors file.

    Returns:
        Its `__metadata__`.

    Raises:
        Unfit: anything is not as the format says.
    """
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(limits.header, size - 8):
        raise Unfit("safetensors-header", f"its header would have {length} bytes, of {size} in all")
    header = _object(file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Unfit("safetensors-metadata", "its __metadata__ is no map of text to text")
    spans = sorted(_tensor(name, told) for name, told in header.items())
    at = 0
    for begin, end, name in spans:
        if begin != at:
            raise Unfit(
                "safetensors-layout", f"tensor {name!r} begins at {begin} instead of {at}: a hole or an overlap"
            )
        at = end
    if at != size - 8 - length:
        raise Unfit("safetensors-layout", f"its tensors end at {at}, its data at {size - 8 - length}")
    return metadata


def _object(data: bytes) -> dict[str, Any]:
    try:
        if data[:1] != b"{":
            raise ValueError("it does not begin with {")
        return dict(json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise Unfit("safetensors-header", f"its header is malformed: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _tensor(name: str, told: Any) -> tuple[int, int, str]:
    """Returns where a tensor lies."""
    if not _NAME.fullmatch(name):
        raise Unfit("safetensors-name", f"a tensor is called {name[:80]!r}")
    if not isinstance(told, dict) or set(told) != {"dtype", "shape", "data_offsets"}:
        raise Unfit("safetensors-header", f"tensor {name!r} is not told by dtype, shape and data_offsets")
    bits = _BITS.get(told["dtype"]) if isinstance(told["dtype"], str) else None
    if bits is None:
        raise Unfit("safetensors-dtype", f"tensor {name!r} has the unknown dtype {told['dtype']!r}")
    shape, offsets = told["shape"], told["data_offsets"]
    if not (_naturals(shape) and len(shape) <= _RANKS and _naturals(offsets) and len(offsets) == 2):
        raise Unfit("safetensors-header", f"tensor {name!r} has a shape or offsets that cannot be")
    for extent in shape:
        bits *= extent
        if bits > 1 << 63:
            raise Unfit("safetensors-layout", f"tensor {name!r} is too large")
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise Unfit("safetensors-layout", f"tensor {name!r} has {end - begin} bytes; its shape needs {bits / 8:g}")
    return begin, end, name


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def npy(file: BinaryIO, limits: Limits) -> None:
    """Reads the header of a npy file.

    Raises:
        Unfit: it holds objects, which are a pickle, or is not as the format says.
    """
    size = file.seek(0, 2)
    file.seek(0)
    begin = file.read(8)
    if len(begin) < 8 or begin[:6] != _NPY or begin[6] not in (1, 2, 3):
        raise Unfit("npy-header", "it is no npy of version 1 to 3")
    width = 2 if begin[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > min(limits.header, size):
        raise Unfit("npy-header", f"its header would have {length} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8" if begin[6] == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise Unfit("npy-header", "its header is malformed") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise Unfit("npy-header", "its header does not have just descr, fortran_order and shape")
    item = _item_size(header["descr"])
    shape = header["shape"]
    if not isinstance(shape, tuple) or not _naturals(list(shape)):
        raise Unfit("npy-header", "its shape cannot be")
    for extent in shape:
        item *= extent
    if item != size - file.tell():
        raise Unfit("npy-layout", f"{size - file.tell()} bytes follow its header, where its shape needs {item}")


def _item_size(kind: Any) -> int:
    """Returns the bytes of an element."""
    if isinstance(kind, list):
        sizes = []
        for field in kind:
            if not isinstance(field, tuple) or len(field) not in (2, 3):
                raise Unfit("npy-header", "a field of its dtype cannot be")
            size = _item_size(field[1])
            for extent in field[2] if len(field) == 3 else ():
                size *= extent if type(extent) is int and extent >= 0 else 0
            sizes.append(size)
        return sum(sizes)
    text = kind if isinstance(kind, str) else ""
    if "O" in text:
        raise Unfit("pickle", "an array of objects is a pickle", "save it as numbers, without dtype=object")
    found = _NUMBERS.fullmatch(text)
    if found is None:
        raise Unfit("npy-header", f"its dtype {kind!r} is unknown")
    kind, size = found["kind"], int(found["size"] or 1)
    return {"U": 4 * size, "m": 8, "M": 8}.get(kind, size)


_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_TEXT, _GGUF_LIST = 8, 9


class _Gguf:
    """Reads the values of a GGUF file, little-endian, within a bound."""

    def __init__(self, file: BinaryIO, size: int, limit: int) -> None:
        self._file = file
        self._left = min(size, limit)

    def take(self, length: int) -> bytes:
        self._left -= length
        data = self._file.read(length) if self._left >= 0 else b""
        if len(data) != length:
            raise Unfit("gguf-header", "its header is longer than the file, or than what is read of one")
        return data

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        try:
            return self.take(self.number("Q")).decode("utf-8")
        except UnicodeDecodeError:
            raise Unfit("gguf-header", "a text of its header is no UTF-8") from None

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == _GGUF_TEXT:
            return self.text()
        if kind == _GGUF_LIST and depth < 4:
            inner, count = self.number("I"), self.number("Q")
            if inner in _GGUF_SIZES:
                self.take(_GGUF_SIZES[inner] * count)
            else:
                for _ in range(count):
                    self.value(inner, depth + 1)
            return None
        if kind not in _GGUF_SIZES:
            raise Unfit("gguf-header", f"a value of its header has the unknown type {kind}")
        return self.take(_GGUF_SIZES[kind])


def gguf(file: BinaryIO, limits: Limits) -> dict[str, str]:
    """Reads the header of a GGUF file.

    Returns:
        Its texts, by key.

    Raises:
        Unfit: anything is not as the format says.
    """
    size = file.seek(0, 2)
    file.seek(4)
    reader = _Gguf(file, size, limits.header)
    if (version := reader.number("I")) not in (2, 3):
        raise Unfit("gguf-header", f"version {version} is none of 2 and 3")
    tensors, values = reader.number("Q"), reader.number("Q")
    texts: dict[str, str] = {}
    seen: set[str] = set()
    for _ in range(values):
        key = reader.text()
        if key in seen or not _NAME.fullmatch(key):
            raise Unfit("gguf-header", f"the key {key[:80]!r} stands twice, or is none")
        seen.add(key)
        if isinstance(value := reader.value(reader.number("I")), str):
            texts[key] = value
    names: set[str] = set()
    for _ in range(tensors):
        name = reader.text()
        if name in names or not _NAME.fullmatch(name):
            raise Unfit("gguf-header", f"the tensor {name[:80]!r} stands twice, or is none")
        names.add(name)
        ranks = reader.number("I")
        if ranks > 8:
            raise Unfit("gguf-header", f"the tensor {name!r} has {ranks} dimensions")
        reader.take(8 * ranks + 4)
        if reader.number("Q") > size:
            raise Unfit("gguf-layout", f"the tensor {name!r} begins behind the end")
    return texts
