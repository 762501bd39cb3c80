"""An artifact: a stored value by digest, as it travels between attempts, controller and database."""

from __future__ import annotations

from typing import Any

import msgspec

from clearance.types.digest import Digest

INLINE_LIMIT = 4096


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one stored value.

    Attributes:
        digest: of the serialised bytes; for a tree, of its manifest (names, modes, digests).
        size: bytes; for a tree, of all its files.
        serializer: which serializer reads it (`json`, `npy`, `tree`, `model`, …).
        type: qualified name of the Python type, for people.
        inline: the serialised bytes themselves when they are at most `INLINE_LIMIT`, else None and
            the bytes lie in the blobs under `digest`.
        metadata: JSON-serialisable facts that are not part of the bytes (a model's metrics).
        cards: what the task showed beside its result.
    """

    digest: Digest
    size: int
    serializer: str
    type: str = ""
    inline: bytes | None = None
    metadata: dict[str, Any] = {}
    cards: tuple[Artifact, ...] = ()


class Literal(msgspec.Struct, frozen=True, tag="literal"):
    """An argument whose value stands in the graph or the parameters, as JSON-compatible data."""

    value: Any


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """An argument that is an upstream result."""

    artifact: Artifact


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """An argument that is a list of arguments (the results of mapped instances, or a Python list of steps)."""

    items: tuple[Argument, ...]


class Projected(msgspec.Struct, frozen=True, tag="projected"):
    """An argument that is a part of an upstream result, which the attempt takes out of it.

    Attributes:
        artifact: all of the result.
        path: names and positions that lead to the part, in the data as it is stored.
    """

    artifact: Artifact
    path: tuple[str | int, ...]


Argument = Literal | Stored | Listed | Projected
