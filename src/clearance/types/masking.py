"""What is put in the place of a secret wherever it would be written: `***`.

A secret is known here by its forms, the ways in which programs write it; `engine.secrets` makes them.

Rules:

1. Longer forms are replaced first, so that no part of one is left over.
2. A stream is masked across the pieces in which it is read: what may be the beginning of a form is held back until
   more comes or the stream ends.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

MASK = "***"


class Masker:
    """Knows the secrets that were resolved in this process, or that another has told of."""

    def __init__(self, forms: Iterable[bytes] = ()) -> None:
        self.forms: set[bytes] = set(forms)
        self._pattern: re.Pattern[bytes] | None = None
        if self.forms:
            self._compile()

    def __bool__(self) -> bool:
        """Returns whether there is anything to mask."""
        return bool(self.forms)

    def add(self, forms: Iterable[bytes]) -> None:
        """Looks for these too from now on."""
        self.forms |= set(forms)
        self._compile()

    def _compile(self) -> None:
        ordered = sorted(self.forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(b"|".join(map(re.escape, ordered)))

    def data(self, data: bytes) -> bytes:
        """Returns the bytes with every form replaced."""
        return self._pattern.sub(MASK.encode(), data) if self._pattern is not None else data

    def text(self, text: str) -> str:
        """Returns the text with every form replaced."""
        if self._pattern is None:
            return text
        return self.data(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def value(self, value: Any) -> Any:
        """Returns plain data with every text and every key masked; files, arrays and other types as they are."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            masked = self.text(value)
            return value if masked == value else masked
        if isinstance(value, (bytes, bytearray)):
            return type(value)(self.data(bytes(value)))
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.value, value))
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(map(self.value, value))
        if isinstance(value, msgspec.Struct):
            return _changed(value, {name: self.value(getattr(value, name)) for name in value.__struct_fields__})
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [field.name for field in dataclasses.fields(value) if field.init]
            return _changed(value, {name: self.value(getattr(value, name)) for name in fields})
        return value

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns what of a stream can be written, masked, and what must wait for more."""
        data = self.data(data)
        longest = min(len(data), max(map(len, self.forms), default=1) - 1)
        for size in range(longest, 0, -1):
            tail = data[-size:]
            if any(form.startswith(tail) for form in self.forms):
                return data[:-size], tail
        return data, b""


def _changed(value: Any, fields: dict[str, Any]) -> Any:
    """Returns the record with these fields, or the very same where nothing changed."""
    if all(getattr(value, name) is part or getattr(value, name) == part for name, part in fields.items()):
        return value
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **fields)
    return dataclasses.replace(value, **fields)


def _nobody(forms: Sequence[bytes]) -> None:
    """There is no log to be masked."""


masker = Masker()
announce: Callable[[Sequence[bytes]], None] = _nobody
"""Returns when whoever writes the log of this process masks these too; the engine puts its own here."""
